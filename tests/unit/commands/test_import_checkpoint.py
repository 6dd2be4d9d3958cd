"""python -m jointkd.import_checkpoint: its options."""


def test_several_outputs_are_refused(command):
    result = command("import_checkpoint", "checkpoint=a.pt", "output=[a,b]")
    assert result.status == 1
    assert result.err == "ConfigError: output=['a', 'b'] must be one path; give the name of one file\n"
