"""The bug classes that hit other runtimes, and the tests here that would catch each: all in one place.

By area and class: "module: function", the first of them named after the class. test_table.py checks that they are there.
"""

from __future__ import annotations

import re

DECODER, NARROWING, BOMBS = "tests.classes.test_decoder", "tests.classes.test_narrowing", "tests.classes.test_bombs"
MEMORIES, CALLS, LIMITS = "tests.classes.test_memories", "tests.classes.test_calls", "tests.native.test_decoder_limits"
PATHS, DESCRIPTORS, RIGHTS, PROGRAMS = (f"tests.wasi.test_{name}" for name in ("paths", "descriptors", "rights", "programs"))
RESIDUE, WASI, HOST, CLOCK = (f"tests.classes.test_{name}" for name in ("residue", "wasi", "host", "clock"))
TIME = "tests.wasi.test_time_and_random"
ROUTER, WIRE, LOGS = "tests.host.test_router", "tests.host.test_wire", "tests.host.test_logs"

CLASSES: dict[str, dict[str, tuple[str, ...]]] = {
    "Decoder and validator": {
        "count overflow": (
            f"{DECODER}: test_count_overflow_of_every_vector",
            f"{DECODER}: test_count_overflow_in_the_name_section_is_passed_over",
            f"{LIMITS}: test_wrong_vector_counts_are_refused_with_an_offset",
            f"{LIMITS}: test_at_the_limit_and_beyond",
        ),
        "missing validation": (
            f"{DECODER}: test_missing_validation_of_each_rule",
            "tests.differential.test_validity: test_mutants_are_judged_alike",
        ),
        "const expression nesting": (
            f"{DECODER}: test_const_expression_nesting_has_no_depth",
            f"{DECODER}: test_const_expression_nesting_by_chains_of_globals",
        ),
        "native recursion": (
            f"{DECODER}: test_native_recursion_on_nested_blocks",
            f"{DECODER}: test_native_recursion_on_chains_of_types",
            f"{DECODER}: test_native_recursion_by_calls",
        ),
        "silent narrowing": (
            f"{NARROWING}: test_silent_narrowing_of_locals",
            f"{NARROWING}: test_silent_narrowing_of_parameters_and_results",
            f"{NARROWING}: test_silent_narrowing_of_frame_slots_and_stack_height",
            f"{NARROWING}: test_silent_narrowing_of_branch_tables",
            f"{NARROWING}: test_silent_narrowing_of_labels",
            f"{NARROWING}: test_silent_narrowing_of_code_size",
            f"{NARROWING}: test_silent_narrowing_of_offsets_of_traps",
            f"{NARROWING}: test_silent_narrowing_of_the_cost_of_a_straight_line",
            f"{NARROWING}: test_silent_narrowing_of_function_and_type_counts",
            f"{NARROWING}: test_silent_narrowing_of_globals_tables_and_segments",
            f"{NARROWING}: test_silent_narrowing_of_offsets",
            f"{NARROWING}: test_silent_narrowing_of_constants",
        ),
        "compile bombs": (
            f"{BOMBS}: test_compile_bombs_stay_within_their_bounds",
            f"{BOMBS}: test_compile_bombs_of_locals_are_refused_by_their_sum",
        ),
    },
    "Interpreter (and the compiled tier)": {
        "tail call": (f"{NARROWING}: test_tail_call_class_a_larger_frame_at_the_last_stack_slot",),
        "address width": (
            "tests.tiers.test_accesses: test_address_width_bounds_and_values",
            f"{MEMORIES}: test_address_width_of_bulk_operations",
        ),
        "stale memory base": (
            f"{MEMORIES}: test_stale_memory_base_after_grow_in_a_host_call",
            f"{MEMORIES}: test_stale_memory_base_across_modules",
        ),
        "interruption inside a bulk operation": (
            f"{MEMORIES}: test_interruption_inside_a_bulk_operation_is_all_or_nothing",
            f"{MEMORIES}: test_interruption_inside_a_bulk_operation_fuel_is_paid_first",
        ),
        "dropped segments": (f"{MEMORIES}: test_dropped_segments_are_gone_in_their_instance_only",),
        "table size and grow": (
            f"{MEMORIES}: test_table_size_and_grow_at_the_end_of_32_bits",
            f"{MEMORIES}: test_table_size_declared_at_the_end_of_32_bits",
        ),
        "type id confusion": (
            f"{CALLS}: test_type_id_confusion_between_modules_of_a_store",
            f"{CALLS}: test_type_id_confusion_of_imports",
            f"{CALLS}: test_type_id_confusion_of_host_functions_in_tables",
            f"{CALLS}: test_type_id_confusion_between_processes",
        ),
        "trap in each frame kind": (
            f"{CALLS}: test_trap_in_each_frame_kind",
            f"{CALLS}: test_trap_in_each_frame_kind_start_function_and_other_module",
            f"{CALLS}: test_trap_in_each_frame_kind_other_ends",
            f"{CALLS}: test_trap_in_each_frame_kind_in_a_worker",
        ),
        "data of one call": (
            "tests.workers.test_fresh: test_data_of_one_call_is_not_seen_by_the_next",
            f"{RESIDUE}: test_data_of_one_call_in_slots_that_nobody_set",
            f"{RESIDUE}: test_data_of_one_call_in_memories_that_are_used_again",
            f"{RESIDUE}: test_data_of_one_call_in_the_halves_of_results",
            f"{RESIDUE}: test_data_of_one_call_in_the_gaps_of_structures",
            f"{RESIDUE}: test_data_of_one_call_in_tables_of_descriptors",
            f"{RESIDUE}: test_data_of_one_call_in_memory_that_host_and_worker_share",
        ),
    },
    "WASI": {
        "dotdot and symlinks": (
            f"{PATHS}: test_dotdot_and_symlinks_lead_nowhere_by_following",
            f"{PATHS}: test_dotdot_and_symlinks_lead_nowhere_by_naming",
        ),
        "trailing slash": (f"{PATHS}: test_trailing_slash_on_every_path_function",),
        "nul in paths": (f"{WASI}: test_nul_in_paths_cuts_nothing_off", f"{WASI}: test_nul_in_paths_of_the_second_argument"),
        "double slashes": (f"{WASI}: test_double_slashes_are_single_ones",),
        "loops": (f"{WASI}: test_loops_of_links_end",),
        "concurrent renamer": (
            f"{PROGRAMS}: test_a_concurrent_renamer_opens_no_way_out",
            f"{WASI}: test_concurrent_renamer_and_every_path_function",
        ),
        "rights on a read only directory": (f"{RIGHTS}: test_rights_on_a_read_only_directory_refuse_every_change",),
        "fd renumber": (f"{DESCRIPTORS}: test_fd_renumber",),
        "poll oneoff counts": (f"{TIME}: test_poll_oneoff_counts_and_pointers",),
        "random get": (f"{TIME}: test_random_get_of_four_gibibytes_ends_at_the_deadline",),
        "a million opens": (f"{PROGRAMS}: test_a_million_opens",),
    },
    "Host": {
        "malformed frames": (
            f"{WIRE}: test_malformed_frames_of_random_bytes_are_messages_or_a_protocol_error",
            f"{HOST}: test_malformed_frames_kill_their_sender_only",
        ),
        "duplicate frames": (
            f"{ROUTER}: test_duplicate_frames_late_replies_are_counted_once_each",
            f"{HOST}: test_duplicate_frames_kill_their_sender_only",
        ),
        "unknown id frames": (
            f"{ROUTER}: test_unknown_id_frames_and_what_no_worker_may_say_get_it_killed",
            f"{HOST}: test_unknown_id_frames_kill_their_sender_only",
        ),
        "foreign id frames": (
            f"{ROUTER}: test_foreign_id_frames_a_worker_answers_its_own_calls_only",
            f"{HOST}: test_foreign_id_frames_kill_their_sender_only",
        ),
        "payload limit": (
            f"{HOST}: test_payload_limit_of_values_plus_minus_one_byte",
            f"{HOST}: test_payload_limit_of_output_plus_minus_one_byte",
            f"{HOST}: test_payload_limit_of_input_plus_minus_one_byte",
        ),
        "cached image flipped": (
            f"{HOST}: test_cached_image_flipped_at_every_byte",
            "tests.host.test_shm: test_a_sealed_copy_can_be_read_and_nothing_else",
        ),
        "escape sequences": (
            f"{LOGS}: test_escape_sequences_in_guest_log_lines_are_shown",
            f"{HOST}: test_escape_sequences_of_every_kind_are_shown_not_obeyed",
        ),
        "clock jumps": (
            f"{CLOCK}: test_clock_jumps_no_python_module_reads_a_clock_that_can_be_set",
            f"{CLOCK}: test_clock_jumps_the_core_reads_such_a_clock_for_guests_only",
            f"{CLOCK}: test_clock_jumps_change_no_deadline",
        ),
    },
}


def slug(name: str) -> str:
    """A class as it stands in the name of a test."""
    return re.sub(r"\W+", "_", name)


def functions() -> list[tuple[str, str, str]]:
    """(class, module, function) of all."""
    found = []
    for area in CLASSES.values():
        for name, entries in area.items():
            found += [(name, *entry.split(": ")) for entry in entries]
    return found  # type: ignore[return-value]
