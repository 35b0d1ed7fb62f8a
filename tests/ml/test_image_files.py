"""Images on a person's own disk: decoded, refused with their names, trained on, and sent to the server as files."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from small_pipeline import inside
from when_ml_pipeline_meets_hydra import Run, run
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.celeba import Celeba, attributes_like
from when_ml_pipeline_meets_hydra.ml.datasets.image_folder import ImageFolder
from when_ml_pipeline_meets_hydra.ml.images import BadImage, decode, pixel_names
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.encode import BadRow
from when_ml_pipeline_meets_hydra.serving.http.requests import InferBody, PredictBody

ATTRIBUTES = ("Blond_Hair", "Big_Lips", "Big_Nose", "Male", "Smiling")
SIZE = ("dataset.height=8", "dataset.width=8")


def picture(seed: int, colour: Sequence[int] = (120, 120, 120), size: tuple[int, int] = (20, 12)) -> Pillow.Image:
    """A noisy picture of some colour; ``size`` is width and height."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    return Pillow.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder with a folder of reddish cats and one of bluish dogs, of several formats."""
    for number in range(24):
        name, colour = ("cat", (200, 60, 60)) if number % 2 else ("dog", (60, 60, 200))
        file = tmp_path / "pets" / name / f"{number:02}.{('jpg', 'png', 'webp')[number % 3]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(number, colour).save(file)
    return tmp_path / "pets"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """CelebA's files as they are published, of twelve faces."""
    root = tmp_path / "faces" / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    lines, parts = ["12", " ".join(ATTRIBUTES)], []
    for number in range(1, 13):
        name = f"{number:06}.jpg"
        picture(number, size=(18, 22)).save(root / "img_align_celeba" / name)
        marks = (number % 3 == 0, True, False, number % 2 == 0, number % 4 < 2)
        lines.append(f"{name}  " + " ".join(f"{1 if mark else -1:2}" for mark in marks))
        parts.append(f"{name} {min(number // 5, 2)}")
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return root.parent


def test_a_file_is_decoded_as_pixels_of_the_wanted_shape(tmp_path: Path) -> None:
    half = np.zeros((10, 30, 3), np.uint8)
    half[:, 15:] = (255, 128, 0)
    Pillow.fromarray(half).save(tmp_path / "half.png")
    pixels = decode(tmp_path / "half.png", Image(channels=3, height=8, width=8))
    assert (pixels.shape, pixels.dtype) == ((3, 8, 8), np.uint8)
    assert pixels[:, 4, 0].tolist() == [0, 0, 0], "it is cut around its centre"
    assert pixels[:, 4, 7].tolist() == [255, 128, 0]
    grey = decode((tmp_path / "half.png").read_bytes(), Image(channels=1, height=10, width=30))
    assert grey.shape == (1, 10, 30)
    assert grey[0, 5, [0, 29]].tolist() == [0, 151]
    assert pixel_names(Image(channels=3, height=1, width=2)) == [
        *("red_0_0", "red_0_1", "green_0_0", "green_0_1", "blue_0_0", "blue_0_1"),
    ]
    turned = Pillow.fromarray(half)
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = decode(tmp_path / "turned.png", Image(channels=3, height=30, width=10))
    assert upright[:, [0, 29], 5].T.tolist() == [[0, 0, 0], [255, 128, 0]]


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_read_as_the_shades_that_they_are(channels: int, tmp_path: Path) -> None:
    shades = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Pillow.fromarray(shades).save(tmp_path / "scan.png")
    pixels = decode(tmp_path / "scan.png", Image(channels=channels, height=8, width=8))
    assert (pixels == shades >> 8).all()


def test_files_that_are_not_read_are_named(pets: Path) -> None:
    for name in ("cat/scan.tiff", "dog/deep/notes.txt", "over.png", ".git/HEAD", "cat/.DS_Store", "cat/Thumbs.db"):
        (pets / name).parent.mkdir(exist_ok=True)
        (pets / name).write_bytes(b"x")
    done = inside("c=preprocessing", "preprocessing/dataset=image_folder", f"dataset.path={pets}", *SIZE)
    assert "pets: not read: cat/scan.tiff, dog/deep/notes.txt, over.png\n" in done.out, done.out


def test_what_is_no_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Image(channels=3, height=8, width=8)
    written = io.BytesIO()
    picture(0, size=(64, 64)).save(written, "JPEG")
    for content, why in {
        written.getvalue()[:300]: "it is damaged",
        b"no image": "it is none of JPEG, PNG, BMP, WEBP",
        b"": "it is none of JPEG",
        b"GIF89a" + bytes(50): "it is none of JPEG",
    }.items():
        with pytest.raises(BadImage, match=why):
            decode(content, shape)
    with pytest.raises(BadImage, match="there is no such file"):
        decode(tmp_path / "gone.jpg", shape)
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.images.MOST_PIXELS", 1000)
    with pytest.raises(BadImage, match="it has 64 × 64 pixels, more than 1,000"):
        decode(written.getvalue(), shape)


def test_a_folder_for_each_class_is_a_data_set(pets: Path) -> None:
    dataset = ImageFolder(name="pets", path=pets, height=8, width=8)
    rows = dataset.rows()
    frame = rows.frame.collect()
    assert frame.shape == (24, 3 * 64 + 1)
    assert frame["label"].to_list() == ["cat"] * 12 + ["dog"] * 12
    first = decode(sorted((pets / "cat").iterdir())[0], dataset.image).reshape(-1)
    assert frame.row(0)[:-1] == tuple(first.tolist())
    assert frame["red_4_4"][0] > 150 > frame["red_4_4"][12]
    assert rows.frame.head(3).collect().equals(frame.head(3))
    assert rows.frame.select("label").filter(pl.col("label") == "dog").collect().height == 12
    before = dataset.fingerprint()
    picture(99).save(pets / "cat" / "01.png")
    assert dataset.fingerprint() != before
    grey = ImageFolder(name="pets", path=pets, height=8, width=8, grey=True)
    assert grey.rows().frame.collect_schema().names()[0] == "grey_0_0"


def trained(pets: Path) -> Run:
    """A linear model of the pets, deployed."""
    words = ["c=deployment", "preprocessing/dataset=image_folder", f"dataset.path={pets}", *SIZE]
    return run([*words, "modeling/model=linear", "model_name=pets"])


def test_a_file_that_is_sent_gets_the_models_own_answer(pets: Path) -> None:
    done = trained(pets)
    assert done.exit_code == 0
    data = done.artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert data.image == Image(channels=3, height=8, width=8, decoded=True)
    predicted = pl.read_parquet(done.artifact("modeling").path / "predictions.parquet")
    held_out = pl.read_parquet(data.path / "rows.parquet")["row"].to_list()
    files = ImageFolder(name="pets", path=pets, height=8, width=8).listing().files
    sent = [base64.b64encode(files[row].read_bytes()).decode() for row in held_out]
    (bundle,) = Path(done.prepared.home).glob("models/pets/versions/*/bundle.json")
    served = scorer.load(bundle.parent)
    manifest = served.manifest
    body = PredictBody(rows=[{"image": content} for content in sent])
    arrays = served.run(body.feeds(manifest))
    assert arrays[0].tolist() == [data.classes[k] for k in predicted["prediction"]]
    wanted = predicted.select(f"probability_{name}" for name in data.classes).to_numpy()
    assert np.abs(arrays[1] - wanted).max() < 1e-6
    tensor = {"name": "image", "shape": [len(sent), 1], "datatype": "BYTES", "data": sent}
    infer = InferBody.model_validate({"inputs": [tensor]})
    assert np.array_equal(served.run(infer.feeds(manifest))[1], arrays[1])
    for row, why in {
        "!": "a file in base64 is needed",
        base64.b64encode(b"no image").decode(): "it is none of JPEG, PNG, BMP, WEBP",
    }.items():
        with pytest.raises(BadRow) as refused:
            PredictBody(rows=[{"image": sent[0]}, {"image": row}]).feeds(manifest)
        assert str(refused.value) == f"rows[1].image: {why}"
    with pytest.raises(BadRow, match="either the file of an image or its pixels"):
        PredictBody(rows=[{"image": sent[0], "red_0_0": 1}]).feeds(manifest)
    assert json.loads(bundle.read_text())["image"]["height"] == 8


def planned(dataset: str, *words: str) -> tuple[int, str, str]:
    """Code, output and messages of a plan."""
    return tuple(inside("plan", "c=preprocessing", f"preprocessing/dataset={dataset}", *words))  # type: ignore[return-value]


def test_damaged_and_missing_images_are_named_before_anything_runs(pets: Path, tmp_path: Path) -> None:
    for name in ("cat/01.png", "dog/02.webp"):
        file = pets / name
        file.write_bytes(file.read_bytes()[:60])
    code, out, err = planned("image_folder", f"dataset.path={pets}")
    assert (code, out) == (2, "")
    assert f"dataset={pets}/cat/01.png: the image cannot be read: it is" in err
    assert f"dataset={pets}/dog/02.webp: the image cannot be read: it is" in err
    with pytest.raises(BadInput, match="01"):
        ImageFolder(name="pets", path=pets).read(tmp_path)

    (pets / "fish").mkdir()
    code, _, err = planned("image_folder", f"dataset.path={pets}")
    assert code == 2
    assert "no image (.jpg, .jpeg, .png, .bmp, .webp) is in the folders of fish" in err
    code, _, err = planned("image_folder", f"dataset.path={pets / 'cat'}")
    assert "it has no folders, one for each class" in err
    code, _, err = planned("image_folder", "dataset.path=nowhere")
    assert "dataset.path=nowhere: there is no such folder" in err


def test_a_table_lists_images_and_their_classes(pets: Path, tmp_path: Path) -> None:
    table = tmp_path / "pets.csv"
    files = sorted(file.relative_to(pets) for file in pets.rglob("*.*"))
    lines = [f"{file},{'tame' if number % 2 else 'wild'},{number % 3}" for number, file in enumerate(files)]
    table.write_text("\n".join(["file,kind,group", *lines]) + "\n")
    dataset = ImageFolder(name="pets", path=pets, table=table, target="kind", height=8, width=8)
    frame = dataset.rows().frame.collect()
    assert frame["kind"].to_list() == ["wild", "tame"] * 12
    assert frame["group"].to_list() == ["0", "1", "2"] * 8, "rows may be split by it"
    words = (f"dataset.path={pets}", f"dataset.table={table}")
    assert "dataset.target=label: there is no such column in the data" in planned("image_folder", *words)[2]
    table.write_text("file,label\ncat/01.png,a\ncat/gone.png,b\n")
    assert f"1 of its files are not there: {pets}/cat/gone.png (line 3)" in planned("image_folder", *words)[2]
    table.write_text("file,label\ncat/01.png,a\ndog/02.webp,\n")
    assert "line 3 has no class" in planned("image_folder", *words)[2]
    table.write_text("file,label\ncat/01.png,a\n,b\n")
    assert "line 3 names no file" in planned("image_folder", *words)[2]
    table.write_text("file,label\ncat/01.png,a\n")
    assert "all images are of one class (a): two or more are needed" in planned("image_folder", *words)[2]


def test_celeba_is_read_as_it_is_published(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELEBA_ROOT", str(faces))
    done = run(["c=preprocessing", "preprocessing/dataset=celeba_male_smiling", "dataset.default_res=8"])
    data = done.artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert (data.target.name, data.classes) == ("Smiling", ("false", "true"))
    assert len(data.features) == 3 * 8 * 8, "neither the other attribute nor the partition is a feature"
    code, out, _ = planned(
        "celeba_male_smiling_small", "dataset.superclass=BLOND", "preprocessing/split=group", "split.column=Male"
    )
    assert (code, "new" in out or "run" in out) == (0, True)
    split = ["preprocessing/split=predefined", "split.column=partition", "dataset.default_res=8"]
    parted = run(["c=preprocessing", "preprocessing/dataset=celeba_male_blond", *split]).artifact("preprocessing")
    assert isinstance(parted, PreparedData)
    assert (parted.target.name, parted.rows_train, parted.rows_test) == ("Blond_Hair", 9, 3)
    config = inside(
        "--cfg", "job", "c=preprocessing", "preprocessing/dataset=celeba_male_smiling_small", "-p", "dataset"
    ).out
    assert [
        line.split(": ")[1]
        for line in config.splitlines()
        if line.startswith(("superclass", "subclass", "default_res"))
    ] == [
        *("SMILING", "MALE", "64"),
    ]


def test_attributes_have_their_names_in_any_case() -> None:
    assert attributes_like("SMILING", ATTRIBUTES) == ["Smiling"]
    assert attributes_like("BLOND", ATTRIBUTES) == ["Blond_Hair"]
    assert attributes_like("big nose", ATTRIBUTES) == ["Big_Nose"]
    assert attributes_like("BIG", ATTRIBUTES) == ["Big_Lips", "Big_Nose"]
    assert attributes_like("Smil", ATTRIBUTES) == []


def test_what_is_wrong_with_celeba_is_said(faces: Path) -> None:
    root, words = faces / "celeba", ("celeba", f"dataset.root={faces}")
    _, _, err = planned(*words, "dataset.superclass=BIG", "dataset.subclass=MALL")
    assert "dataset.superclass=BIG: it may be Big_Lips or Big_Nose" in err
    assert "dataset.subclass=MALL: there is no such attribute" in err
    assert "Male" in err
    assert "dataset.superclass=Big_Lips: no image is without it" in planned(*words, "dataset.superclass=BIG_LIPS")[2]
    for number in (3, 7):
        (root / "img_align_celeba" / f"{number:06}.jpg").unlink()
    assert "2 of the images in list_attr_celeba.txt are not there: 000003.jpg, 000007.jpg" in planned(*words)[2]
    table = root / "list_attr_celeba.txt"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-2]) + "\n")
    assert "its first line promises 12 images, and 10 follow: is it cut off?" in planned(*words)[2]
    table.write_text("\n".join([*lines[:4], "000003.jpg 1 1", *lines[5:]]))
    assert "line 5 is no file with 5 times 1 or -1" in planned(*words)[2]
    table.unlink()
    assert "there is no list_attr_celeba.txt in it" in planned(*words)[2]
    assert "there is no such folder" in planned("celeba", "dataset.root=nowhere")[2]
    with pytest.raises(BadInput, match="no such folder"):
        Celeba(name="celeba", root=Path("nowhere")).listing()


def idx(array: Any) -> bytes:
    """An array in MNIST's format."""
    head = bytes((0, 0, 8, array.ndim)) + b"".join(struct.pack(">I", size) for size in array.shape)
    return head + bytes(array.astype(np.uint8).tobytes())


def test_coloured_digits_are_made_of_mnists_own_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in {"train": 40, "t10k": 12}.items():
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(draw.integers(0, 256, (count, 28, 28)))))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 4))
    words = [f"dataset.root={tmp_path}", "dataset.resolution=8"]
    split = ["preprocessing/split=predefined", "split.column=part"]
    done = run(["c=preprocessing", "preprocessing/dataset=cmnist", *words, *split])
    data = done.artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert (data.rows_train, data.rows_test, data.classes) == (40, 12, ("0", "1", "2", "3"))
    assert data.image == Image(channels=3, height=8, width=8, decoded=True)
    labels = raw / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-2])
    assert "it is no file of MNIST (idx, unsigned bytes), or it is cut off" in planned("cmnist", *words)[2]
    labels.write_bytes(idx(np.full(12, 11)))
    assert "the part 'test' has the label 11, and digits are 0 to 9" in planned("cmnist", *words)[2]
    labels.unlink()
    assert "it has no t10k-labels-idx1-ubyte" in planned("cmnist", *words)[2]
