/* sock_accept, sock_recv, sock_send, sock_shutdown: no plugin has sockets. */
#include "wasi_internal.h"

sbx_wasi_result sbx_wasi_sock_accept(sbx_wasi_call *call) { (void)call; return SBX_WASI_NOTSUP; }
sbx_wasi_result sbx_wasi_sock_recv(sbx_wasi_call *call) { (void)call; return SBX_WASI_NOTSUP; }
sbx_wasi_result sbx_wasi_sock_send(sbx_wasi_call *call) { (void)call; return SBX_WASI_NOTSUP; }
sbx_wasi_result sbx_wasi_sock_shutdown(sbx_wasi_call *call) { (void)call; return SBX_WASI_NOTSUP; }
