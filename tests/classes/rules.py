"""One module for each rule of validation (specification 3.3 and 3.4) that breaks it, and what it is when the rule is kept."""

from __future__ import annotations

RULES: dict[str, tuple[str, str]] = {
    "operands": ("(func (drop (i32.add (i32.const 1) (i64.const 1))))", "(func (drop (i32.add (i32.const 1) (i32.const 1))))"),
    "underflow": ("(func drop)", "(func i32.const 1 drop)"),
    "underflow of a block": ("(func i32.const 1 block drop end)", "(func i32.const 1 drop block end)"),
    "left over": ("(func i32.const 1)", "(func i32.const 1 drop)"),
    "left over in a block": ("(func block i32.const 1 end)", "(func block i32.const 1 drop end)"),
    "results": ("(func (result i32) (i64.const 1))", "(func (result i32) (i32.const 1))"),
    "results of a block": (
        "(func (drop (block (result i32) (f32.const 1))))",
        "(func (drop (block (result f32) (f32.const 1))))",
    ),
    "parameters of a block": ("(func (i64.const 1) (block (param i32) drop))", "(func (i64.const 1) (block (param i64) drop))"),
    "if without else": ("(func (drop (if (result i32) (i32.const 1) (then (i32.const 1)))))", "(func (if (i32.const 1) (then)))"),
    "condition of if": ("(func (if (i64.const 1) (then)))", "(func (if (i32.const 1) (then)))"),
    "label": ("(func (br 1))", "(func (br 0))"),
    "values of br": ("(func (drop (block (result i32) (br 0))))", "(func (drop (block (result i32) (br 0 (i32.const 1)))))"),
    "values of br_if": (
        "(func (drop (block (result i32) (br_if 0 (i64.const 1) (i32.const 1)) unreachable)))",
        "(func (drop (block (result i32) (br_if 0 (i32.const 1) (i32.const 1)))))",
    ),
    "labels of br_table": (
        "(func (block (drop (block (result i32) (br_table 0 1 (i32.const 1) (i32.const 0))))))",
        "(func (block (drop (block (result i32) (br_table 0 0 (i32.const 1) (i32.const 0))))))",
    ),
    "br_table in dead code": (
        "(func (drop (block (result f32) (block (result i64) unreachable br_table 0 1) drop (f32.const 0) drop (i32.const 1))))",
        "(func (drop (block (result f32) unreachable br_table 0 0)))",
    ),
    "operands in dead code": ("(func unreachable (i32.const 1) i64.eqz drop)", "(func unreachable i64.eqz drop)"),
    "return": ("(func (result i32) (return (f64.const 1)))", "(func (result f64) (return (f64.const 1)))"),
    "local": ("(func (local i32) (drop (local.get 1)))", "(func (local i32) (drop (local.get 0)))"),
    "type of a local": ("(func (local i32) (local.set 0 (f32.const 1)))", "(func (local f32) (local.set 0 (f32.const 1)))"),
    "type of local.tee": (
        "(func (param i32) (drop (local.tee 0 (i64.const 1))))",
        "(func (param i64) (drop (local.tee 0 (i64.const 1))))",
    ),
    "global": ("(func (drop (global.get 0)))", "(global i32 (i32.const 1)) (func (drop (global.get 0)))"),
    "immutable global": (
        "(global i32 (i32.const 1)) (func (global.set 0 (i32.const 1)))",
        "(global (mut i32) (i32.const 1)) (func (global.set 0 (i32.const 1)))",
    ),
    "type of a global": (
        "(global (mut i32) (i32.const 1)) (func (global.set 0 (i64.const 1)))",
        "(global (mut i64) (i64.const 1)) (func (global.set 0 (i64.const 1)))",
    ),
    "initialiser of a global": ("(global i32 (i64.const 1))", "(global i64 (i64.const 1))"),
    "constant initialiser": ("(global i32 (i32.eqz (i32.const 1)))", "(global i32 (i32.const 1))"),
    "initialiser names an own global": (
        "(global i32 (i32.const 1)) (global i32 (global.get 0))",
        '(import "m" "g" (global i32)) (global i32 (global.get 0))',
    ),
    "initialiser names a mutable global": (
        '(import "m" "g" (global (mut i32))) (global i32 (global.get 0))',
        '(import "m" "g" (global i32)) (global i32 (global.get 0))',
    ),
    "function": ("(func (call 1))", "(func (call 0))"),
    "arguments of a call": (
        "(func $f (param i32)) (func (call $f (i64.const 1)))",
        "(func $f (param i64)) (func (call $f (i64.const 1)))",
    ),
    "arguments of an indirect call": (
        "(table 1 funcref) (func (call_indirect (param i32) (i64.const 1) (i32.const 0)))",
        "(table 1 funcref) (func (call_indirect (param i64) (i64.const 1) (i32.const 0)))",
    ),
    "table of an indirect call": (
        "(func (call_indirect (i32.const 0)))",
        "(table 1 funcref) (func (call_indirect (i32.const 0)))",
    ),
    "type of the table of an indirect call": (
        "(table 1 externref) (func (call_indirect (i32.const 0)))",
        "(table 1 funcref) (func (call_indirect (i32.const 0)))",
    ),
    "type index": ("(func (type 5))", "(type (func)) (func (type 0))"),
    "memory of a load": ("(func (drop (i32.load (i32.const 0))))", "(memory 1) (func (drop (i32.load (i32.const 0))))"),
    "memory of grow": ("(func (drop (memory.grow (i32.const 0))))", "(memory 1) (func (drop (memory.grow (i32.const 0))))"),
    "address": ("(memory 1) (func (drop (i32.load (i64.const 0))))", "(memory 1) (func (drop (i32.load (i32.const 0))))"),
    "alignment": (
        "(memory 1) (func (drop (i32.load align=8 (i32.const 0))))",
        "(memory 1) (func (drop (i32.load align=4 (i32.const 0))))",
    ),
    "alignment of a store": (
        "(memory 1) (func (i64.store16 align=4 (i32.const 0) (i64.const 0)))",
        "(memory 1) (func (i64.store16 align=2 (i32.const 0) (i64.const 0)))",
    ),
    "memory of bulk operations": (
        "(func (memory.copy (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(memory 1) (func (memory.copy (i32.const 0) (i32.const 0) (i32.const 0)))",
    ),
    "data segment": ('(memory 1) (data "x") (func (data.drop 1))', '(memory 1) (data "x") (func (data.drop 0))'),
    "element segment": ("(elem func) (func (elem.drop 1))", "(elem func) (func (elem.drop 0))"),
    "table": ("(func (drop (table.size 0)))", "(table 0 funcref) (func (drop (table.size 0)))"),
    "type of table.set": (
        "(table 1 funcref) (func (table.set 0 (i32.const 0) (ref.null extern)))",
        "(table 1 funcref) (func (table.set 0 (i32.const 0) (ref.null func)))",
    ),
    "types of table.copy": (
        "(table 1 funcref) (table 1 externref) (func (table.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(table 1 funcref) (table 1 funcref) (func (table.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 0)))",
    ),
    "types of table.init": (
        "(table 1 externref) (elem func) (func (table.init 0 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(table 1 funcref) (elem func) (func (table.init 0 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
    ),
    "a number as a reference": (
        "(table 1 externref) (func (table.set 0 (i32.const 0) (i64.const 4096)))",
        "(table 1 externref) (func (table.set 0 (i32.const 0) (ref.null extern)))",
    ),
    "a reference as a number": ("(func (result i64) (ref.null func))", "(func (result funcref) (ref.null func))"),
    "declared references": ("(func) (func (drop (ref.func 0)))", "(elem declare func 0) (func) (func (drop (ref.func 0)))"),
    "select of references": (
        "(func (drop (select (ref.null func) (ref.null func) (i32.const 1))))",
        "(func (drop (select (result funcref) (ref.null func) (ref.null func) (i32.const 1))))",
    ),
    "types of select": (
        "(func (drop (select (i32.const 1) (i64.const 1) (i32.const 1))))",
        "(func (drop (select (i64.const 1) (i64.const 1) (i32.const 1))))",
    ),
    "start function": ("(func (param i32)) (start 0)", "(func) (start 0)"),
    "export": ('(export "f" (func 0))', '(func) (export "f" (func 0))'),
    "exports twice": ('(func) (export "f" (func 0)) (export "f" (func 0))', '(func) (export "f" (func 0)) (export "g" (func 0))'),
    "limits of a memory": ("(memory 65537)", "(memory 0 65536)"),
    "largest of a memory": ("(memory 0 65537)", "(memory 0 65536)"),
    "order of limits": ("(memory 2 1)", "(memory 1 2)"),
    "order of limits of a table": ("(table 2 1 funcref)", "(table 1 2 funcref)"),
    "offset of a data segment": ("(memory 1) (data (i64.const 0))", "(memory 1) (data (i32.const 0))"),
    "offset of an element segment": (
        "(table 1 funcref) (elem (f32.const 0) func)",
        "(table 1 funcref) (elem (i32.const 0) func)",
    ),
    "type of an element segment": (
        "(table 1 externref) (func) (elem (table 0) (i32.const 0) func 0)",
        "(table 1 funcref) (func) (elem (table 0) (i32.const 0) func 0)",
    ),
    "function of an element segment": (
        "(table 1 funcref) (elem (i32.const 0) func 3)",
        "(table 1 funcref) (func) (elem (i32.const 0) func 0)",
    ),
}
"""By the rule: the fields of a module that must be refused, and of one that must not."""
