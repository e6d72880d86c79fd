"""Tests that share programs and runs go to one worker."""


def test_the_tests_of_a_file_are_one_group_of_xdist(request):
    """Marks that are set after xdist has read them group nothing: each worker then compiles what the other has."""
    hooks = request.config.hook.pytest_collection_modifyitems.get_hookimpls()
    (own,) = (each for each in hooks if each.plugin_name.replace("\\", "/").endswith("tests/conftest.py"))
    assert own.tryfirst
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@tests/core/test_groups.py")
