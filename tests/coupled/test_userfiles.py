"""Paths as users write them, and text files as editors save them: read, or refused in one line that says what it is."""

from pathlib import Path

import pytest

from analysis.cli import main as analyze
from coupled.cli import main
from coupled.config import digest, load
from coupled.errors import UserError
from coupled.userfiles import expanded, read_bytes, read_text

MINIMAL = '[arms.cl]\nobjective = "dcl"\n[arms.nscl]\nobjective = "nscl"\n'


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, from whose neighbour the test runs."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~", "HOME"),
        ("~/", "HOME"),
        ("~/a b/c", "HOME/a b/c"),
        ("~root/x", f"{Path('~root').expanduser()}/x"),
        ("", ""),
        ("x/y", "x/y"),
        ("../x", "../x"),
        ("/x//y", "/x//y"),
        ("./~/x", "./~/x"),
        ("x/~/y", "x/~/y"),
        ("x~", "x~"),
        ("a$", "a$"),
        ("a$/$.b", "a$/$.b"),
    ],
)
def test_a_tilde_is_a_home_folder_and_other_paths_stay(home, given, meant):
    assert expanded(given) == meant.replace("HOME", str(home))


REFUSED_PATHS = {
    "~nobody-such/x": "there is no user nobody-such here; write the whole path, or ./~nobody-such for",
    "~nobody-such": "there is no user nobody-such here",
    "$HOME/r": "variables are not replaced here, and no file has that name; write the path without $HOME",
    "${HOME}/r": "write the path without ${HOME}, or let a shell put its value in",
    "/scratch/$USER/r": "write the path without $USER",
    "~/$NAME": "write the path without $NAME",
    "a\0b": "no file has NUL in its name",
}


@pytest.mark.parametrize(("given", "message"), REFUSED_PATHS.items())
def test_a_path_that_means_something_else_is_one_line(home, given, message):
    with pytest.raises(UserError) as error:
        expanded(given, "paths.runs")
    assert message in str(error.value) and str(error.value).startswith("paths.runs = ")
    assert str(error.value).isprintable()


def test_a_file_that_has_a_dollar_in_its_name_is_found(home):
    Path("$HOME").mkdir()
    assert expanded("$HOME/r") == "$HOME/r"


@pytest.mark.parametrize("value", ["", ".", "relative/x"])
def test_a_home_that_is_no_folder_is_one_line(value, monkeypatch):
    monkeypatch.setenv("HOME", value)
    with pytest.raises(UserError, match=f"~/x; HOME = {value} is no folder to begin with; write the whole path"):
        expanded("~/x")


def test_every_path_of_a_config_is_expanded_and_none_counts(home):
    (home / "mine.py").write_text("")
    config = Path("c.toml")
    config.write_text('[code]\nfiles = ["~/mine.py"]\n[paths]\nruns = "~/r"\ndata = "~/d"\n' + MINIMAL)
    loaded = load(config)
    assert (loaded.paths.runs, loaded.paths.data, loaded.code.files) == (f"{home}/r", f"{home}/d", (f"{home}/mine.py",))
    config.write_text('[code]\nfiles = ["mine.py"]\n' + MINIMAL)
    (home / "mine.py").rename("mine.py")
    overridden = load(config, ["paths.runs=~/r", "paths.data=~"])
    assert (overridden.paths.runs, overridden.paths.data) == (f"{home}/r", str(home))
    assert digest(overridden) == digest(loaded) and overridden.name == loaded.name


def _line(program, arguments, capsys):
    code = program(arguments)
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (2, "", 1), captured.err
    return captured.err


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (main, ["plan", "~/x"]),
        (main, ["train", "~/x", "--ranks", "1"]),
        (main, ["bench", "~/x"]),
        (main, ["resume", "~/x"]),
        (main, ["verify", "~/x"]),
        (main, ["diff", "~/x", "~/x"]),
        (main, ["export", "~/x", "--arm", "cl"]),
        *((analyze, [command, "~/x"]) for command in ("curves", "bounds", "divergence", "report")),
    ],
)
def test_every_command_looks_in_the_home_folder(home, program, arguments, capsys):
    assert f"{home}/x" in _line(program, arguments, capsys)


@pytest.mark.parametrize("option", ["--data", "--code"])
def test_an_option_with_a_variable_in_its_path_is_one_line(home, option, capsys):
    assert "variables are not replaced" in _line(main, ["verify", "r", f"{option}=$HOME/x"], capsys)
    assert "no user nobody-such" in _line(main, ["verify", "r", f"{option}=~nobody-such"], capsys)


def test_no_folder_called_tilde_is_made(home, capsys):
    Path("c.toml").write_text(MINIMAL)
    assert main(["plan", "c.toml", "--set", "paths.runs=~/r"]) == 0
    assert f"run directory   {home}/r/c" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == ["c.toml"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.pt", "x.pt ends in .pt; a state dict is written as .safetensors; name it HOME/x.safetensors"),
        ("x.pth", "ends in .pth; "),
        ("x.npz", "ends in .npz; "),
        ("x.bin", "ends in .bin; "),
        ("x.ckpt", "ends in .ckpt; "),
        ("x.safetensors.tmp", "ends in .tmp; "),
        ("x.safetensors.gz", "ends in .gz; "),
        ("x", "x ends in no suffix; a state dict is written as .safetensors; name it HOME/x.safetensors"),
        (".safetensors", "ends in no suffix; "),
        ("x.", "; a state dict is written as .safetensors; "),
        ("", "HOME is a folder; a state dict is one file, .safetensors; give the name of the file too"),
    ],
)
def test_a_state_dict_is_not_written_under_the_name_of_something_else(home, name, message, capsys):
    line = _line(main, ["export", "r", "--arm", "cl", f"--output=~/{name}"], capsys)
    assert message.replace("HOME", str(home)) in line and not list(home.iterdir())


# Text files.


@pytest.mark.parametrize("spoil", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path, spoil):
    plain, other = tmp_path / "a" / "c.toml", tmp_path / "b" / "c.toml"
    for path, text in ((plain, MINIMAL), (other, spoil(MINIMAL))):
        path.parent.mkdir()
        path.write_bytes(text.encode())
    assert digest(load(other)) == digest(load(plain))


LATIN = "# caf\u00e9\n".encode("latin-1")
NOT_CONFIGS = {
    "UTF-16": (MINIMAL.encode("utf-16"), "is in UTF-16; UTF-8 is needed; save it as UTF-8"),
    "UTF-16, big": ("\ufeff".encode("utf-16-be") + MINIMAL.encode("utf-16-be"), "is in UTF-16; UTF-8 is needed"),
    "UTF-32": (MINIMAL.encode("utf-32"), "is in UTF-32; UTF-8 is needed"),
    "UTF-16 without a mark": (MINIMAL.encode("utf-16-le"), "line 1 holds a NUL byte; it is no text file, or one in"),
    "latin-1": (MINIMAL.encode() + LATIN, "line 5 holds the byte 0xe9; which is not UTF-8; save it as UTF-8"),
    "binary": (bytes(range(256)), "line 1 holds a NUL byte; it is no text file"),
    "a NUL": (MINIMAL.encode() + b"\0", "line 5 holds a NUL byte"),
    "picture": (b"\x89PNG\r\n\x1a\n", "line 1 holds the byte 0x89; which is not UTF-8"),
    "empty": (b"", "is empty; it names at least one arm"),
    "mark alone": (b"\xef\xbb\xbf\n", "is empty; it names at least one arm"),
    "old line ends": (MINIMAL.replace("\n", "\r").encode(), r"is not TOML; .*the character there is '\r'"),
    "no-break space": ("seed\u00a0= 1".encode(), r"is not TOML; .* column 5): the character there is '\xa0'"),
    "curly quotes": (
        "[arms.cl]\r\nobjective = \u201cdcl\u201d".encode(),
        r"column 13): the character there is '\u201c'",
    ),
    "second mark": (b"\xef\xbb\xbf\xef\xbb\xbf" + MINIMAL.encode(), r"the character there is '\ufeff'"),
}


@pytest.mark.parametrize(("content", "message"), NOT_CONFIGS.values(), ids=list(NOT_CONFIGS))
def test_what_is_no_config_is_one_line(tmp_path, content, message, capsys):
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    line = _line(main, ["plan", str(path)], capsys)
    assert line.startswith(f"coupled-run: config {path}")
    assert all(part in line for part in message.split(".*"))


def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "link.toml").symlink_to("nowhere.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "file").touch()
    for name, message in {
        "absent.toml": "cannot be read; No such file or directory; give the path of a TOML file",
        "link.toml": "cannot be read; No such file or directory: it is a link to nowhere.toml; give",
        "loop.toml": "cannot be read; Too many levels of symbolic links",
        ".": "cannot be read; Is a directory",
        "file/x": "cannot be read; Not a directory",
        "x" * 300: "cannot be read; File name too long",
    }.items():
        assert message in _line(main, ["plan", str(tmp_path / name)], capsys)
    assert "holds more than 4 MiB; it is no text file" in _line(main, ["plan", "/dev/zero"], capsys)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")  # who runs the tests as root may read everything

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read; Permission denied" in _line(main, ["plan", "secret.toml"], capsys)


def test_a_users_code_may_begin_with_a_mark_and_may_not_be_utf_16(tmp_path):
    config, code = tmp_path / "c.toml", tmp_path / "mine.py"
    config.write_text('[code]\nfiles = ["mine.py"]\n' + MINIMAL)
    for content in (b"\xef\xbb\xbfx = 1\n", b"x = 1\r\n", b"# coding: latin-1\nx = '\xe9'\n", b""):
        code.write_bytes(content)
        assert len(load(config).code.sha256) == 1
    for content, message in (
        ("x = 1\n".encode("utf-16"), "mine.py is in UTF-16; UTF-8 is needed"),
        (b"x = 1\0\n", "mine.py: line 1 holds a NUL byte"),
        (b"x = '\xe9'\n", "mine.py fails; SyntaxError: "),
    ):
        code.write_bytes(content)
        with pytest.raises(UserError, match=f"code.files: .*{message}") as error:
            load(config)
        assert str(error.value).isprintable()
    code.unlink()
    code.mkdir()
    with pytest.raises(UserError, match=r"code.files: .*mine.py cannot be read; Is a directory; give a Python file"):
        load(config)


def test_a_path_with_a_nul_is_one_line():
    with pytest.raises(UserError, match="cannot be read; embedded null byte"):
        read_bytes(Path("a\0b"), "", "give a file")


def test_text_is_read_with_its_own_line_ends(tmp_path):
    (tmp_path / "x").write_bytes("\ufeffa\r\nb\u2028".encode())
    assert read_text(tmp_path / "x", "", "") == "a\r\nb\u2028"
