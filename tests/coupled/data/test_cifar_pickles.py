"""CIFAR's python version: equal to the binary one to the byte, and no file of it makes anything run, grow or crash."""

import pickle
import struct
from dataclasses import replace

import pytest
import torch
import torchvision
from cifar_pickles import DTYPE, DTYPE_STATE, EMPTY, a_list, array, batch, dictionary, number, string
from helpers import tables

from coupled import data
from coupled.cli import main
from coupled.config import from_tables
from coupled.data import cifar
from coupled.data.cifar import INFOS, read_split
from coupled.data.unpickling import RefusedError, unpickle
from coupled.driver.train import train
from coupled.errors import UserError

FILES = {
    "cifar10": {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}
FOLDERS = {
    "cifar10": ("cifar-10-batches-bin", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-binary", "cifar-100-python"),
}
KEYS = {"cifar10": [b"labels"], "cifar100": [b"coarse_labels", b"fine_labels"]}


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request):
    return request.param


def _small(name):
    """Two images of each class to train on, one to test with; mean and std are those of the images that follow."""
    info = INFOS[name]
    counts = {
        "train_counts": {key: tuple(c // (info.train_size // 200) for c in v) for key, v in info.train_counts.items()},
        "test_counts": {key: tuple(c // (info.test_size // 100) for c in v) for key, v in info.test_counts.items()},
    }
    pixels = torch.tensor([list(image) for image in _images(200)], dtype=torch.float64).view(200, 3, 1024) / 255
    mean, std = pixels.mean((0, 2)).tolist(), pixels.transpose(0, 1).flatten(1).std(1, correction=0).tolist()
    return replace(info, train_size=200, test_size=100, mean=tuple(mean), std=tuple(std), **counts)


def _images(count):
    return [bytes((n * 31 + p * 3 + p // 32 + n * p) % 251 for p in range(3072)) for n in range(count)]


def _write_both(root, name):
    """Both versions of the same images, in the folders of their archives."""
    (root / "bin").mkdir()
    (root / "py").mkdir()
    for split, count in (("train", 200), ("test", 100)):
        images, fine = _images(count), [n * 7 % (10 if name == "cifar10" else 100) for n in range(count)]
        labels = dict(zip(KEYS[name], [fine] if name == "cifar10" else [[n % 20 for n in fine], fine], strict=True))
        share = count // len(FILES[name][split])
        for k, file in enumerate(FILES[name][split]):
            part = slice(k * share, (k + 1) * share)
            heads = [bytes(values) for values in zip(*(v[part] for v in labels.values()), strict=True)]
            records = b"".join(head + image for head, image in zip(heads, images[part], strict=True))
            (root / "bin" / f"{file}.bin").write_bytes(records)
            (root / "py" / file).write_bytes(batch(images[part], {key: v[part] for key, v in labels.items()}))
    return root


@pytest.mark.parametrize("split", ["train", "test"])
def test_both_versions_are_equal_to_the_byte(tmp_path, name, split):
    root, info = _write_both(tmp_path, name), _small(name)
    binary, python = (read_split(info, split, root / version) for version in ("bin", "py"))
    assert torch.equal(binary.images(torch.arange(100)), python.images(torch.arange(100)))
    for labelling in info.classes:
        assert torch.equal(binary.labels(labelling), python.labels(labelling))
    assert binary.fingerprint() == python.fingerprint()


def test_a_run_is_the_same_on_either_version(tmp_path, monkeypatch):
    root, info = _write_both(tmp_path, "cifar100"), _small("cifar100")
    monkeypatch.setitem(cifar.INFOS, "cifar100", info)
    monkeypatch.setitem(data.DATASETS, "cifar100", info)
    written = []
    for version in ("bin", "py"):
        paths = {"runs": str(tmp_path / f"runs-{version}"), "data": str(root / version)}
        config = from_tables(
            tables(
                data={"name": "cifar100", "labelling": "fine"},
                train={"steps": 2},
                arms={"cl": {"objective": "dcl"}},
                paths=paths,
            )
        )
        path = train(config)
        written.append([(path / file).read_bytes() for file in ("run.json", "manifest.jsonl")])
    assert written[0] == written[1]


@pytest.mark.filterwarnings("ignore:dtype().*align should be passed")  # torchvision unpickles what NumPy wrote in 2009
def test_torchvision_reads_the_same(tmp_path, name, monkeypatch):
    root, info = _write_both(tmp_path, name), _small(name)
    (root / "py").rename(root / FOLDERS[name][1])
    theirs = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    monkeypatch.setattr(theirs, "_check_integrity", lambda _: True)
    monkeypatch.setattr(theirs, "_load_meta", lambda _: None)
    expected, read = theirs(root, train=True), read_split(info, "train", root)
    assert torch.equal(torch.from_numpy(expected.data).permute(0, 3, 1, 2), read.images(torch.arange(200)))
    assert expected.targets == read.labels(info.default_labelling).tolist()


def test_pythons_own_unpickler_agrees_on_the_file():
    """The literal writer of these tests writes what Python reads, with the numbers of a 2009 file or of today's."""
    content = batch(_images(3), {b"labels": [3, 1, 2]})
    content = content.replace(b"u1q\x21K\x00K\x01", b"u1q\x21\x89\x88")
    theirs, ours = pickle.loads(content, encoding="bytes"), unpickle(memoryview(content), 1000)
    assert theirs.keys() == ours.keys()
    assert {k: v for k, v in theirs.items() if k != b"data"} == {k: v for k, v in ours.items() if k != b"data"}
    assert theirs[b"data"].tobytes() == bytes(ours[b"data"].content)


def test_the_binary_version_is_taken_where_both_are(tmp_path, name):
    root, info = _write_both(tmp_path, name), _small(name)
    for version, folder in zip(("bin", "py"), FOLDERS[name], strict=True):
        (root / version).rename(root / folder)
    for file in FILES[name]["train"]:
        (root / FOLDERS[name][1] / file).write_bytes(b"damaged")
    assert len(read_split(info, "train", root)) == 200


def test_a_folder_of_images_is_no_pickle(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"no file train\.bin or train; looked in"):
        data.load("cifar100", "train", root=str(tmp_path))


def test_an_array_in_columns_and_one_of_todays_numpy_are_read():
    content = bytes(range(6))
    for written in (array(content, (2, 3), by_columns=True), array(content, (2, 3)).replace(b".core.", b"._core.")):
        values = unpickle(memoryview(dictionary([(b"data", written)])), 100)
        theirs = pickle.loads(dictionary([(b"data", written)]).replace(b"q\x21K\x00K\x01", b"q\x21\x89\x88"))["data"]
        ours = cifar.np.frombuffer(values[b"data"].content, cifar.np.uint8)
        assert (ours.reshape(2, 3, order="F" if values[b"data"].by_columns else "C") == theirs).all()


# Hostile files. Each is a file of four images, made as long as a true one, in which something else is done.

PIXELS = bytes(4 * 3072)
LABELS = a_list([number(1)] * 4, 5)
TRUE = [(b"labels", LABELS), (b"data", array(PIXELS, (4, 3072)))]
SYSTEM = b"cos\nsystem\nU\x05touchU\x00\x86R"


def _beside(value):
    """A true file with one more value."""
    return dictionary([*TRUE, (b"x", value)])


def _data(value):
    """A file with another value as its data; where that has no pixels, they are elsewhere, and it is as long."""
    filler = [] if PIXELS in value else [(b"x", string(PIXELS))]
    return dictionary([*filler, (b"labels", LABELS), (b"data", value)])


def _labels(values):
    return dictionary([(b"labels", values), TRUE[1]])


HOSTILE = {
    "os.system": (_beside(b"cos\nsystem\nU\x04true\x85R"), "names 'os.system'"),
    "builtins.eval": (_beside(b"c__builtin__\neval\nU\x011\x85R"), "names '__builtin__.eval'"),
    "the same without a call": (_beside(b"cbuiltins\nexec\n"), "names 'builtins.exec'"),
    "another name of numpy's": (_beside(b"cnumpy\nload\nU\x01x\x85R"), "names 'numpy.load'"),
    "a dotted path from an admitted module": (_beside(b"cnumpy\nndarray.tofile\n"), "names 'numpy.ndarray.tofile'"),
    "codecs": (_beside(b"c_codecs\nencode\n"), "names '_codecs.encode'"),
    "a name on the stack": (_beside(b"U\x02osU\x06system\x93"), r"instruction b'\\x93'"),
    "an instance": (_beside(b"(ios\nsystem\n"), "instruction b'i'"),
    "an object of a class": (_beside(b"(cos\nsystem\no"), "names 'os.system'"),
    "a new object": (_beside(b"cnumpy\nndarray\n)\x81"), r"instruction b'\\x81'"),
    "an extension code": (_beside(b"\x82\x01"), r"instruction b'\\x82'"),
    "a persistent id": (_beside(b"U\x01xQ"), "instruction b'Q'"),
    "a name without an end": (_beside(b"c" + b"A" * 200 + b"\n"), "has a name of more than 80 bytes"),
    "a name of several lines of bytes": (_beside(b"c\x1b[2Jx\r\nsystem\n"), r"names '\\x1b\[2Jx\\r.system'"),
    "an array of objects": (_data(array(PIXELS, (4, 3072), dtype=DTYPE.replace(b"u1", b"O8"))), "makes something else"),
    "a type with a shape": (
        _data(array(PIXELS, (4, 3072), dtype=DTYPE.replace(b"\x02u1", b"\x06(9,)u1"))),
        "makes something else",
    ),
    "a type with fields": (
        _data(array(PIXELS, (4, 3072), dtype=DTYPE + DTYPE_STATE.replace(b"NNN", b"NU\x01a\x85N"))),
        "gives an array or its type a state",
    ),
    "an empty array of a huge shape": (
        _data(EMPTY.replace(b"K\x00\x85", b"J\xff\xff\xff\x7f\x85")),
        "makes something else",
    ),
    "a shape larger than its bytes": (_data(array(PIXELS, (65535, 65535))), "gives an array or its type a state"),
    "a shape smaller than its bytes": (_data(array(PIXELS, (4, 3071))), "gives an array or its type a state"),
    "a shape below zero": (_data(array(PIXELS, (-4, -3072))), "gives an array or its type a state"),
    "an array that is filled twice": (
        _data(array(PIXELS[:9], (9,)) + b"(K\x01K\x01\x85" + DTYPE + b"\x89U\x01atb"),
        "gives an array or its type a state",
    ),
    "an array that is not filled": (_data(EMPTY), "holds .* as its data"),
    "a state of attributes": (_data(EMPTY + b"}U\x01aK\x01sb"), "gives an array or its type a state"),
    "a state of a name": (_beside(b"cnumpy\nndarray\n}b"), "gives an array or its type a state"),
    "a call of an array's class": (_beside(b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x85R"), "makes something else"),
    "a call of a string": (_beside(b"U\x01x)R"), "makes something else"),
    "a memo of four thousand million places": (_beside(b"Nr\xff\xff\xff\xff") + b"..", "goes on for 2 bytes"),
    "a string of four thousand million bytes": (_beside(b"T\xff\xff\xff\xffx"), "ends inside 4294967295 bytes"),
    "a string of protocol 4": (_beside(b"\x8e" + struct.pack("<Q", 1 << 62)), r"instruction b'\\x8e'"),
    "a number of two thousand million bytes": (_beside(b"\x8b\xff\xff\xff\x7f"), r"instruction b'\\x8b'"),
    "a number of 255 bytes": (_beside(b"\x8a\xff" + b"\x01" * 255), "has a number of 255 bytes"),
    "digits without an end": (_beside(b"I" + b"9" * 500 + b"\n"), "has a name of more than 80 bytes"),
    "lists in lists": (_beside(b"]" * 1200), "has more than 1032 instructions"),
    "a list in a list": (_beside(b"]]a"), "puts a list into a list"),
    "a list in itself": (_beside(b"]q\x50h\x50a"), "puts a list into a list"),
    "tuples that double": (
        _beside(b"N" + b"q\x50h\x50h\x50\x86" * 3),
        "puts a tuple into a tuple inside a tuple|puts a nonetype into a tuple inside a tuple",
    ),
    "a tuple of seventeen": (_beside(b"(" + b"K\x01" * 17 + b"t"), "has a tuple of more than 16 elements"),
    "a tuple as a key": (dictionary([*TRUE])[:-2] + b"K\x01\x85K\x01u.", "has a key that is not a short string"),
    "a key of a million bytes": (dictionary([(b"k" * 3000, b"N"), *TRUE]), "has a key that is not a short string"),
    "a key that is there twice": (dictionary([*TRUE, TRUE[0]]), "is there twice"),
    "a dictionary in itself": (_beside(b"h\x01"), "puts a dict into a dictionary"),
    "a list that doubles": (_labels(b"](" + b"K\x01" * 4 + b"eq\x50(h\x50h\x50e"), "puts a list into a list"),
    "a thousand marks": (_beside(b"(" * 1200), "has more than 1032 instructions"),
    "another pickle behind it": (dictionary(TRUE) + dictionary(TRUE), "goes on for|bytes, not"),
    "nothing on the stack": (b"\x80\x02." + PIXELS + b"xxx", "goes on for"),
    "no mark": (b"\x80\x02}u" + PIXELS, "lacks a mark"),
    "no end": (dictionary(TRUE)[:-1], "ends inside 1 bytes"),
    "a value that was never kept": (_beside(b"h\x77"), "uses value 119 before it has one"),
    "a later protocol": (dictionary(TRUE).replace(b"\x80\x02", b"\x80\x04"), "is of protocol 4"),
    "a list instead": (b"\x80\x02]" + string(PIXELS) + b".", "takes|something else than one dictionary"),
    "labels as a string": (_labels(string(b"\x01" * 4)), "holds no list of 4 integers as its labels"),
    "a label of each kind": (_labels(b"](K\x01N\x88U\x01ae"), "holds no list of 4 integers as its labels"),
    "truths as labels": (_labels(b"](" + b"\x88" * 4 + b"e"), "holds no list of 4 integers as its labels"),
    "too few labels": (_labels(a_list([number(1)] * 3, 5)), "holds no list of 4 integers as its labels"),
    "a label below zero": (_labels(a_list([number(-1)] * 4, 5)), r"label -1, allowed are 0 to 9"),
    "a label above 255": (_labels(a_list([number(256)] * 4, 5)), r"label 256, allowed are 0 to 9"),
    "a label of eight bytes": (_labels(a_list([b"\x8a\x08" + b"\xff" * 7 + b"\x7f"] * 4, 5)), "label 92233720"),
    "images of another size": (_data(array(PIXELS, (8, 1536))), r"holds \(8, 1536\) as its data"),
    "no images": (dictionary([TRUE[0], (b"x", string(PIXELS))]), "holds nothing as its data"),
    "text": (b"S'" + PIXELS + b"'\n.", "instruction b'S'"),
    "a file of the other version": ((b"\x03" + bytes(3072)) * 4, r"instruction b'\\x03'"),
}


@pytest.fixture
def four():
    """CIFAR-10 of four test images."""
    return replace(INFOS["cifar10"], test_size=4)


def test_the_file_that_hostile_ones_are_made_of_is_read(tmp_path, four):
    (tmp_path / "test_batch").write_bytes(dictionary(TRUE))
    assert read_split(four, "test", tmp_path).labels("class").tolist() == [1] * 4


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_files_are_refused_in_one_line_and_nothing_is_called(tmp_path, monkeypatch, four, content, message):
    for called in ("find_class", "load"):
        monkeypatch.setattr(pickle._Unpickler, called, None)
    for called in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, called, None)
    path = tmp_path / "test_batch"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_split(four, "test", tmp_path)
    line = str(error.value)
    assert line.startswith(f"cifar10: {path} ") and "expected cifar10's own file of the python version" in line
    assert len(line.splitlines()) == 1 and line.isascii() and line.isprintable() and len(line) < 500


def test_no_other_instruction_is_followed():
    for code in set(range(256)) - set(b"\x80UTKMJI\x8a\x88\x89N(]})\x85\x86\x87taesuqrhjcRb."):
        with pytest.raises(RefusedError, match="it is not admitted"):
            unpickle(memoryview(bytes([code]) + bytes(100)), 10)


@pytest.mark.parametrize("size", [4 * 3072, 4 * (3072 + 128) + 4097, 0])
def test_a_file_much_longer_or_shorter_than_its_pixels_is_refused_before_it_is_read(tmp_path, monkeypatch, four, size):
    (tmp_path / "test_batch").write_bytes(bytes(size))
    monkeypatch.setattr(cifar, "_fill", None)
    with pytest.raises(UserError, match=f"test_batch holds {size} bytes, not 12288 to 16896"):
        read_split(four, "test", tmp_path)


def test_damage_anywhere_is_refused_or_harmless(tmp_path, four):
    """Every byte outside the pixels replaced, one at a time: one line, or four images and labels in range."""
    content = dictionary(TRUE)
    start = content.index(PIXELS)
    places = [*range(start), *range(start + len(PIXELS), len(content))]
    for place in places:
        for other in (content[place] ^ 1, 0x52, 0xFF):
            spoilt = content[:place] + bytes([other]) + content[place + 1 :]
            (tmp_path / "test_batch").write_bytes(spoilt)
            try:
                assert len(read_split(four, "test", tmp_path)) == 4
            except UserError as error:
                assert len(str(error).splitlines()) == 1


def test_the_command_says_it_in_one_line_and_makes_nothing(tmp_path, monkeypatch, capsys):
    root, info = _write_both(tmp_path, "cifar10"), _small("cifar10")
    monkeypatch.setitem(cifar.INFOS, "cifar10", info)
    monkeypatch.setitem(data.DATASETS, "cifar10", info)
    path = root / "py/test_batch"
    path.write_bytes(path.read_bytes().replace(b"cnumpy\ndtype\n", b"cposix\nsystem\n"))
    folders = f'[paths]\ndata = "{root / "py"}"\nruns = "{tmp_path / "runs"}"\n'
    (tmp_path / "x.toml").write_text(f'{folders}[data]\nname = "cifar10"\n[arms.cl]\nobjective = "dcl"\n')
    assert main(["train", str(tmp_path / "x.toml"), "--set", "batches.size=8", "--set", "panel.size=32"]) == 2
    assert "test_batch names 'posix.system', which is not admitted; exp" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
