;; A local changes while an older value of it lies on the operand stack.
(module
  (func (export "get_set_get") (param i32) (result i32)
    local.get 0
    (local.set 0 (i32.const 7))
    local.get 0
    i32.sub)
  (func (export "get_tee") (param i32) (result i32)
    (i32.sub (local.get 0) (local.tee 0 (i32.add (local.get 0) (i32.const 10)))))
  (func (export "tee_get") (param i32) (result i32)
    (i32.sub (local.tee 0 (i32.add (local.get 0) (i32.const 10))) (local.get 0)))
  (func (export "four_then_set") (param i32) (result i32)
    local.get 0 local.get 0 local.get 0 local.get 0
    (local.set 0 (i32.const 1000))
    local.get 0
    i32.add i32.mul i32.add i32.mul)
  (func (export "swap") (param i32 i32) (result i32 i32)
    local.get 0 local.get 1
    local.set 0 local.set 1
    local.get 0 local.get 1)
  (func (export "rotate") (param i32 i64 i32 i64) (result i32 i64 i32 i64)
    local.get 0 local.get 1 local.get 2 local.get 3
    local.set 1 local.set 0 local.set 3 local.set 2
    local.get 0 local.get 1 local.get 2 local.get 3)
  (func (export "set_itself") (param i32) (result i32)
    local.get 0 (local.set 0 (local.get 0)) local.get 0 i32.add)
  (func (export "tee_itself") (param f64) (result f64)
    (f64.add (local.tee 0 (local.get 0)) (local.tee 0 (f64.mul (local.get 0) (f64.const 2)))))
  (func (export "across_block") (param i32) (result i32)
    local.get 0
    (block (local.set 0 (i32.const 5)) (br_if 0 (local.get 0)) (local.set 0 (i32.const 6)))
    local.get 0
    i32.sub)
  (func (export "across_if") (param i32 i32) (result i32)
    local.get 0
    (if (local.get 1) (then (local.set 0 (i32.const 100))) (else (local.set 0 (i32.const 200))))
    (i32.add (local.get 0)))
  (func (export "across_loop") (param i32) (result i32) (local i32)
    local.get 0
    (loop $l
      (local.set 0 (i32.mul (local.get 0) (i32.const 3)))
      (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 4))))
    local.get 0
    i32.sub)
  (func $id (param i64) (result i64) local.get 0)
  (func (export "across_call") (param i64) (result i64)
    local.get 0
    (local.set 0 (call $id (i64.add (local.get 0) (i64.const 1))))
    local.get 0
    i64.sub)
  (func (export "many_types") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    local.get 0 local.get 1 local.get 2 local.get 3
    (local.set 3 (f64.const 9)) (local.set 2 (f32.const 8)) (local.set 1 (i64.const 7)) (local.set 0 (i32.const 6)))
  (func (export "many_types_after") (param i32 i64 f32 f64) (result f64)
    local.get 3 local.get 2 f64.promote_f32
    (local.set 3 (f64.const 1e3)) (local.set 2 (f32.const 1e4))
    f64.add local.get 3 f64.add local.get 2 f64.promote_f32 f64.add)
  (func (export "conditional_overwrite") (param i32 i32) (result i32)
    (block $out (result i32)
      local.get 0
      (br_if $out (local.get 0) (local.get 1)) drop
      (local.set 0 (i32.const 55))
      local.get 0 i32.add))
  (func (export "compare_then_set") (param i32 i32) (result i32)
    (i32.lt_s (local.get 0) (local.get 1))
    (local.set 0 (i32.const 99)) (local.set 1 (i32.const 3))
    (if (result i32) (then (local.get 0)) (else (local.get 1))))
  (func (export "nested_tee") (param i32) (result i32) (local i32 i32)
    (i32.add (local.tee 1 (i32.add (local.tee 2 (i32.add (local.get 0) (i32.const 1))) (local.get 2)))
             (i32.mul (local.get 1) (local.tee 2 (i32.sub (local.get 1) (local.get 2)))))
    local.get 2 i32.xor)
  (func (export "unset_locals") (result i32 i64 f32 f64) (local i32 i64 f32 f64)
    local.get 0 (local.set 0 (i32.const 1)) local.get 1 local.get 2 local.get 3)
  (func (export "zeroed_again") (param i32) (result i32) (local i32)
    (if (local.get 0) (then (local.set 1 (i32.const 77))))
    local.get 1)
)
(assert_return (invoke "get_set_get" (i32.const 100)) (i32.const 93))
(assert_return (invoke "get_tee" (i32.const 5)) (i32.const -10))
(assert_return (invoke "tee_get" (i32.const 5)) (i32.const 0))
(assert_return (invoke "four_then_set" (i32.const 3)) (i32.const 9036))
(assert_return (invoke "swap" (i32.const 1) (i32.const 2)) (i32.const 2) (i32.const 1))
(assert_return (invoke "rotate" (i32.const 1) (i64.const 2) (i32.const 3) (i64.const 4)) (i32.const 3) (i64.const 4) (i32.const 1) (i64.const 2))
(assert_return (invoke "set_itself" (i32.const 21)) (i32.const 42))
(assert_return (invoke "tee_itself" (f64.const 1.5)) (f64.const 0x1.2000000000000p+2))
(assert_return (invoke "across_block" (i32.const 50)) (i32.const 45))
(assert_return (invoke "across_if" (i32.const 1) (i32.const 0)) (i32.const 201))
(assert_return (invoke "across_if" (i32.const 1) (i32.const 1)) (i32.const 101))
(assert_return (invoke "across_loop" (i32.const 2)) (i32.const -160))
(assert_return (invoke "across_call" (i64.const 0x7fffffff)) (i64.const -1))
(assert_return (invoke "many_types" (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4)) (i32.const 1) (i64.const 2) (f32.const 0x1.8000000000000p+1) (f64.const 0x1.0000000000000p+2))
(assert_return (invoke "many_types_after" (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4)) (f64.const 0x1.57f8000000000p+13))
(assert_return (invoke "conditional_overwrite" (i32.const 8) (i32.const 0)) (i32.const 63))
(assert_return (invoke "conditional_overwrite" (i32.const 8) (i32.const 1)) (i32.const 8))
(assert_return (invoke "compare_then_set" (i32.const 1) (i32.const 2)) (i32.const 99))
(assert_return (invoke "compare_then_set" (i32.const 2) (i32.const 1)) (i32.const 3))
(assert_return (invoke "nested_tee" (i32.const 4)) (i32.const 57))
(assert_return (invoke "unset_locals") (i32.const 0) (i64.const 0) (f32.const 0x0.0p+0) (f64.const 0x0.0p+0))
(assert_return (invoke "zeroed_again" (i32.const 1)) (i32.const 77))
(assert_return (invoke "zeroed_again" (i32.const 0)) (i32.const 0))
