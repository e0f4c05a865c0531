/* Guard pages: a fault of a handler inside its memory's reservation becomes a trap; every other fault goes to the former handler. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "machine.h"

enum { SIGNAL_STACK = 65536 };

static __thread stack_t own_signal_stack;
static __thread char *native_stack_end;

#if defined(__x86_64__) && defined(__linux__)
static struct sigaction former_segv, former_bus;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

static void chain(int signal, siginfo_t *info, void *context)
{
    const struct sigaction *former = signal == SIGBUS ? &former_bus : &former_segv;
    if (former->sa_flags & SA_SIGINFO) {
        former->sa_sigaction(signal, info, context);
    } else if (former->sa_handler != SIG_DFL && former->sa_handler != SIG_IGN) {
        former->sa_handler(signal);
    } else {
        struct sigaction fatal = {.sa_handler = SIG_DFL}; /* returning runs the instruction again, and dies of it */
        sigaction(signal, &fatal, NULL);
        if (info->si_code <= 0) /* sent by a process, not raised by an instruction: there is nothing to run again */
            raise(signal);
    }
}

/* Takes a fault only when the processor stands in a handler and the address lies in that instance's own reservation. */
static bool take_handler_fault(ucontext_t *context, const u8 *address)
{
#if SBX_TAIL_DISPATCH
    greg_t *registers = context->uc_mcontext.gregs;
    const char *rip = (const char *)registers[REG_RIP];
    if (rip < __start_sbx_ops || rip >= __stop_sbx_ops)
        return false;
    sbx_call_engine *engine = (sbx_call_engine *)registers[REG_R8];
    sbx_instance *instance = (sbx_instance *)registers[REG_R9];
    const sbx_memory *memory = instance->memory0;
    if (!memory || address < memory->base || (u64)(address - memory->base) >= memory->reserved)
        return false;
    engine->pc = (const u16 *)registers[REG_RDI];
    engine->instance = instance;
    engine->trap = SBX_TRAP_MEMORY_BOUNDS;
    engine->status = SBX_TRAP;
    registers[REG_RSP] = (greg_t)engine->native_sp;
    registers[REG_RIP] = (greg_t)sbx_leave;
    return true;
#else
    (void)context, (void)address; /* the loop's handlers compare */
    return false;
#endif
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    bool raised = info->si_code > 0; /* by an instruction, not sent by a process */
    if (!raised || !(take_handler_fault(context, info->si_addr) || sbx_machine_take_fault(context, info->si_addr)))
        chain(signal, info, context);
}

static int install(int signal, struct sigaction *former)
{
    struct sigaction now, action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (sigaction(signal, NULL, &now))
        return -errno;
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault)
        return 0;
    *former = now;
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL) ? -errno : 0;
}

int sbx_install_fault_handler(void)
{
    pthread_mutex_lock(&install_lock);
    int error = install(SIGSEGV, &former_segv);
    if (!error)
        error = install(SIGBUS, &former_bus);
    pthread_mutex_unlock(&install_lock);
    return error;
}
#else
int sbx_install_fault_handler(void) { return 0; }
#endif

static void find_native_stack(void)
{
    pthread_attr_t attributes;
    void *base = NULL;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes))
        return;
    if (!pthread_attr_getstack(&attributes, &base, &size))
        native_stack_end = base;
    pthread_attr_destroy(&attributes);
}

size_t sbx_native_stack_left(void)
{
    const char *here = __builtin_frame_address(0);
    if (!native_stack_end)
        sbx_thread_enter();
    return native_stack_end && here > native_stack_end ? (size_t)(here - native_stack_end) : SIZE_MAX;
}

/* Threads that are not ours end without a word: their signal stack goes with them. */
static pthread_key_t leave_key;
static pthread_once_t leave_once = PTHREAD_ONCE_INIT;

static void leave_thread(void *unused)
{
    (void)unused;
    sbx_thread_leave();
}

static void make_leave_key(void) { pthread_key_create(&leave_key, leave_thread); }

int sbx_thread_enter(void)
{
    stack_t now;
    find_native_stack();
    pthread_once(&leave_once, make_leave_key);
    pthread_setspecific(leave_key, &leave_key);
    if (sigaltstack(NULL, &now))
        return -errno;
    if (!(now.ss_flags & SS_DISABLE) && now.ss_size >= SIGNAL_STACK / 4)
        return 0;
    void *stack = mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return -errno;
    own_signal_stack = (stack_t){.ss_sp = stack, .ss_size = SIGNAL_STACK};
    if (sigaltstack(&own_signal_stack, NULL)) {
        int error = errno;
        munmap(stack, SIGNAL_STACK);
        own_signal_stack.ss_sp = NULL;
        return -error;
    }
    return 0;
}

void sbx_thread_leave(void)
{
    if (!own_signal_stack.ss_sp)
        return;
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    munmap(own_signal_stack.ss_sp, SIGNAL_STACK);
    own_signal_stack.ss_sp = NULL;
}
