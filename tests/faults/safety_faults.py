"""Faults of the gates for code and files of others."""

from __future__ import annotations

from fault import Fault, faults_of

_trust = "core/test_trust.py::"
_forged = "interop/test_forged_files.py::"
_names = "cli/test_config_names.py::"
_of_code = faults_of("core/user_code.py")

SAFETY_FAULTS = (
    Fault(
        "an edited file of the user's, of which the last version alone is noted",
        "core/versions.py",
        "noted[name] = [*(each for each in noted.get(name, []) if each != version), version]",
        "noted[name] = [version]",
        ("sweep/test_outdated.py::test_own_code_that_has_changed_is_told_and_the_row_stands",),
    ),
    Fault(
        "rows that are older than the code of the user, which a sweep does not tell",
        "sweep/changes.py",
        "changed = lambda run: changed_code(workdir / run.name)",
        "changed = lambda run: []",
        ("sweep/test_outdated.py::test_own_code_that_has_changed_is_told_and_the_row_stands",),
    ),
    Fault(
        "trials that are older than the code of the user, which a search does not tell",
        "sweep/search.py",
        "        tell_code(trials.finished(), workdir)\n",
        "",
        ("sweep/test_search.py::test_own_code_that_has_changed_since_a_trial_is_told",),
    ),
    Fault(
        "code of the user that is noted when nothing is trained any more",
        "training/loop.py",
        """        if not self.is_finished():
            if jax.process_index() == 0:
                note_code(self.setup.code, self.workdir)
""",
        """        note_code(self.setup.code, self.workdir)
        if not self.is_finished():
""",
        ("cli/test_plugins.py::test_code_that_has_changed_since_the_training_is_told",),
    ),
    Fault(
        "an edited file is still trusted",
        "core/trust.py",
        "if not os.path.isfile(entries / digest):",
        "if not os.path.isdir(entries):",
        (_trust + "test_trust_is_of_a_file_as_it_is_with_the_files_that_it_imports",),
    ),
    Fault(
        "modules in the current folder are installed",
        "core/trust.py",
        "if os.path.isabs(entry)} - {os.path.realpath(os.curdir)}",
        "if os.path.isabs(entry)}",
        (_trust + "test_an_installed_package_is_imported_and_no_other_folder_of_modules",),
    ),
    _of_code(
        "files that a trusted one imports inside of a function are not asked about",
        "for node in ast.walk(tree):",
        "for node in tree.body:",
        _trust + "test_trust_is_of_a_file_as_it_is_with_the_files_that_it_imports",
    ),
    _of_code(
        "a compiled file beside a trusted one runs in its place",
        "return self.source_to_code(self._contents, self.path)",
        "return super().get_code(fullname)",
        _trust + "test_a_compiled_file_beside_a_trusted_one_does_not_run",
    ),
    _of_code(
        "a module of an untrusted file that no statement names is imported",
        "if spec is None or not spec.has_location or",
        "if True or not spec.has_location or",
        _trust + "test_a_file_that_no_statement_names_is_refused_when_it_is_imported",
    ),
    Fault(
        "a graph in a file may have edges from later steps",
        "interop/description.py",
        "or (parents & ~(step_D[None, :] < step_D[:, None])).any()",
        "or False",
        (_forged + "test_tensors_are_those_that_arjax_writes",),
    ),
    Fault(
        "tensors of any type are parameters",
        "interop/model_file.py",
        "elif name in params and params[name].dtype != leaf.dtype:",
        "elif False:",
        (_forged + "test_tensors_are_those_that_arjax_writes",),
    ),
    Fault(
        "sizes in a file are not compared with its tensors",
        "interop/model_file.py",
        "    _check_sizes(description, tensors)\n",
        "",
        (_forged + "test_types_and_sizes_of_a_network_are_compared_before_anything_is_made",),
    ),
    Fault(
        "integers of a quantized model are read as its weights",
        "interop/tensors.py",
        "not in FLOATS:",
        "not in (*FLOATS, 'I8'):",
        ("interop/test_damaged_folders.py::test_no_tensor_of_a_layer_is_left_out_or_read_without_its_scale",),
    ),
    Fault(
        "parameters that a model has no place for are left out",
        "interop/huggingface.py",
        "if architecture.is_of_layer(name)]",
        "if False]",
        ("interop/test_damaged_folders.py::test_no_tensor_of_a_layer_is_left_out_or_read_without_its_scale",),
    ),
    Fault(
        "a config of the package is taken for the one in the current folder",
        "core/user_files.py",
        "if is_name and (here :=",
        "if False and (here :=",
        (_names + "test_a_name_means_the_file_here_before_those_of_the_package",),
    ),
    Fault(
        "a copied config overwrites the file that its user has changed",
        "config/files.py",
        "if copy.exists() and (",
        "if False and (",
        (_names + "test_a_config_is_copied_to_begin_with",),
    ),
    Fault(
        "options that are checked already are checked again",
        "core/registry.py",
        "if isinstance(given, Component) and (",
        "if False and (",
        ("cli/test_config.py::test_names_and_call_strings_are_read_once",),
    ),
    Fault(
        "jobs on a cluster lack the flags of their sweep",
        "sweep/slurm.py",
        "self._program, self._jobs = [*program, *more], jobs",
        "self._program, self._jobs = [*program], jobs",
        ("sweep/test_slurm_jobs.py::test_a_job_has_the_arguments_of_the_sweep_and_the_cluster_its_options",),
    ),
)
