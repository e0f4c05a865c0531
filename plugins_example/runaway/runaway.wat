;; runaway: what a broken or hostile plugin does with the processor: loops for ever, calls itself for ever.
(module
  (func $spin (export "spin")
    (loop $again (br $again)))

  (func $recurse (export "recurse") (param $depth i64) (result i64)
    (i64.add (i64.const 1) (call $recurse (i64.add (local.get $depth) (i64.const 1)))))

  ;; Ends by itself: the same plugin still serves a harmless call.
  (func (export "count_down") (param $n i32) (result i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (local.get $n))

  (func (export "_start") (call $spin)))
