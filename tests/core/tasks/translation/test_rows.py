"""A user's sentence pairs through the whole preparation: what is read, what is refused, and which split it goes to."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.data.ingestion.sources import quick_look, source_state
from components.core.errors import UserError
from components.core.store import Store, open_objects
from components.core.tasks.translation import cleaning, gettext_catalogs, pairs, shifts
from components.core.tasks.translation.cleaning import content_key
from components.core.tasks.translation.rows import TranslationRows
from components.data_prep.prepare import Prepared, prepare
from components.data_prep.settings import Settings
from components.data_prep.summary import write_summary

ROWS = TranslationRows()
NOUNS = ("file", "window", "page", "letter", "street", "garden", "river", "table", "winter", "number")
SUBSTANTIVOS = ("arquivo", "janela", "página", "carta", "rua", "jardim", "rio", "mesa", "inverno", "número")
VERBS = ("Open", "Close", "Find", "Keep", "Count", "Draw", "Move", "Name", "Show", "Forget", "Lose", "Paint")
VERBOS = (
    "Abra",
    "Feche",
    "Ache",
    "Guarde",
    "Conte",
    "Desenhe",
    "Mova",
    "Nomeie",
    "Mostre",
    "Esqueça",
    "Perca",
    "Pinte",
)
END = (" now", " or wait for somebody who can do it", " before lunch", " twice")
FIM = (" agora", " ou espere por alguém que saiba fazer isso", " antes do almoço", " duas vezes")


def made(count: int) -> list[tuple[str, str]]:
    """Up to 480 different pairs of different lengths."""
    return [
        (
            f"{VERBS[n % 12]} the {NOUNS[n // 12 % 10]}{END[n // 120 % 4]}",
            f"{VERBOS[n % 12]} o {SUBSTANTIVOS[n // 12 % 10]}{FIM[n // 120 % 4]}",
        )
        for n in range(count)
    ]


def moses(folder: Path, sentences: list[tuple[str, str]], stem: str = "x") -> Path:
    folder.mkdir(exist_ok=True)
    for side, language in enumerate(("en", "pt")):
        (folder / f"{stem}.{language}").write_text("".join(f"{pair[side]}\n" for pair in sentences))
    return folder


@pytest.fixture
def prepared(tmp_path: Path, store: Store) -> Callable[..., tuple[Prepared, Dataset]]:
    """Prepares a data set; returns what was written and the opened data set."""

    def prepare_(dataset: Path | str, rows: TranslationRows = ROWS, **settings: str) -> tuple[Prepared, Dataset]:
        result = prepare(Settings(dataset=str(dataset), rows=rows, **settings), tmp_path / "data", store)
        return result, open_dataset(tmp_path / "data", store)

    return prepare_


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rows_of(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    for split in SPLITS:
        for row in dataset.iterate(split):
            yield split, row["text"], row["translation"]


def test_two_files_of_lines_become_rows_and_every_pair_is_in_one_split(tmp_path: Path, prepared) -> None:
    _, dataset = prepared(moses(tmp_path / "d", made(200)))
    assert sorted((text, translation) for _, text, translation in rows_of(dataset)) == sorted(made(200))
    assert (dataset.classes, dataset.class_counts) == ([], {})
    facts = dataset.manifest.metadata
    assert facts["languages"] == ["en", "pt-BR"]
    assert facts["source"] == {"languages": "en to pt-BR", "files": "1 Moses"}
    assert all(dataset.counts[split] > 20 for split in SPLITS)
    row = next(dataset.iterate("train"))
    assert set(row) == {"text", "translation", "digest", "source"}
    assert row["source"].startswith("x.en:line ")


def test_either_file_of_two_names_the_data_and_a_change_of_the_other_changes_the_state(
    tmp_path: Path, prepared
) -> None:
    folder = moses(moses(tmp_path / "d", made(100)), made(50), stem="y")
    for name in ("x.en", "x.pt"):
        _, dataset = prepared(folder / name)
        assert sum(dataset.counts.values()) == 100
    before = source_state(str(folder / "x.en"), ROWS)
    (folder / "x.pt").write_text((folder / "x.pt").read_text() + "\n")
    assert source_state(str(folder / "x.en"), ROWS) != before


def test_every_kind_in_one_folder_gives_the_same_rows(tmp_path: Path, prepared) -> None:
    (tmp_path / "d").mkdir()
    sentences = made(240)
    parts = [sentences[start : start + 40] for start in range(0, 240, 40)]
    moses(tmp_path / "d", parts[0])
    (tmp_path / "d" / "a.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in parts[1]))
    (tmp_path / "d" / "b.csv").write_text("".join(["en,pt_BR\n", *(f"{s},{t}\n" for s, t in parts[2])]))
    lines = [json.dumps({"translation": {"en": s, "pt": t}}) for s, t in parts[3]]
    (tmp_path / "d" / "c.jsonl").write_text("\n".join(lines))
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>{s}</seg></tuv><tuv xml:lang="pt"><seg>{t}</seg></tuv></tu>' for s, t in parts[4]
    )
    (tmp_path / "d" / "e.tmx").write_text(f"<tmx><body>{units}</body></tmx>")
    catalog = tmp_path / "d" / "pt_BR" / "LC_MESSAGES"
    catalog.mkdir(parents=True)
    (catalog / "f.po").write_text("".join(f'msgid "{s}"\nmsgstr "{t}"\n\n' for s, t in parts[5]))
    (catalog / "f.mo").write_bytes(b"not looked at, since its source is beside it")
    (tmp_path / "d" / "README").write_text("not looked at")
    result, dataset = prepared(tmp_path / "d")
    assert sorted((text, translation) for _, text, translation in rows_of(dataset)) == sorted(sentences)
    assert result.quarantine.files == []
    assert dataset.manifest.metadata["source"]["files"] == "3 table, 1 TMX, 1 catalog, 1 Moses"


def test_what_cannot_be_used_is_counted_by_rule_with_an_example_and_nothing_is_lost(tmp_path: Path, prepared) -> None:
    bad = [
        ("Firefox is open", "Firefox is open"), ("word " * 10_000, "palavra " * 10_000),
        ("Delete %s now", "Apague agora"), ("Take 3 of them", "Pegue 4 deles"),
        ("Open \x1b[31mit", "Abra-o agora"), ("Nobody knows", "  "),
        ("The committee has published the results of its work", "Der Ausschuss hat die Ergebnisse publiziert, sagt er"),
        ("Open the file here", "Откройте файл здесь"), ("It is a language", "O portuguÃªs Ã©"),
    ]  # fmt: skip
    folder = moses(tmp_path / "d", [*made(100), *bad])
    (folder / "x.pt").write_bytes((folder / "x.pt").read_bytes() + b"tr\xeas\n")
    (folder / "x.en").write_text((folder / "x.en").read_text() + "three\n")
    result, dataset = prepared(folder)
    assert result.quarantine.counts == {
        "control characters": 1, "encoding damage": 1, "identical": 1, "no target": 1, "not UTF-8": 1,
        "numbers differ": 1, "placeholders differ": 1, "too long": 1, "wrong language": 1, "wrong script": 1,
    }  # fmt: skip
    assert sum(dataset.counts.values()) + len(result.quarantine.files) == 100 + len(bad) + 1
    examples = {record["reason"]: (record["source"], record["detail"]) for record in result.quarantine.records()}
    assert examples["too long"] == ("x.en:line 102", "10000 words, 49999 characters")
    assert examples["placeholders differ"] == ("x.en:line 103", "only in source: %s")
    assert set(examples) <= set(ROWS.reasons)
    write_summary(tmp_path / "page.html", shown_as="d", prepared=result, dataset=dataset, rows=ROWS)
    page = (tmp_path / "page.html").read_text()
    assert "100 sentence pairs from d; 10 quarantined" in page
    assert "only in source: %s" in page
    assert "Training sentences by length" in page


def test_a_rule_is_left_out_when_it_is_asked_for(tmp_path: Path, prepared) -> None:
    folder = moses(tmp_path / "d", [*made(100), ("Firefox is open", "Firefox is open")])
    rows = ROWS.with_options({"skipped_rules": ["identical"]})
    assert prepared(folder, rows)[0].quarantine.counts == {}
    with pytest.raises(UserError, match="unknown cleaning rule 'same'; rules: identical"):
        ROWS.with_options({"skipped_rules": ["same"]})
    with pytest.raises(UserError, match="unknown data parameter 'langauge' for translation; known: source_language"):
        ROWS.with_options({"langauge": "de"})
    with pytest.raises(UserError, match="are both 'en'"):
        ROWS.with_options({"target_language": "EN"})


def test_all_translations_and_near_copies_of_a_sentence_are_in_one_split(tmp_path: Path, prepared) -> None:
    sentences = [
        pair
        for number, (source, target) in enumerate(made(200))
        for pair in (
            (source, target),
            (source, f"{target}, por favor"),
            (f"{source.upper()}!", f"{target}, de novo"),
            (f"{source} {number}", f"{target} e mais {number}"),
            (f"{source} {number + 1}.", f"{target} e {number + 1}."),
        )
    ]
    # In turn, their lengths would repeat every five lines, as if shifted.
    sentences.sort(key=lambda pair: hash_of(pair[1]))
    result, dataset = prepared(moses(tmp_path / "d", sentences))
    places: dict[str, set[str]] = {}
    for split, text, _ in rows_of(dataset):
        places.setdefault(content_key(text), set()).add(split)
    assert len(places) == 400
    assert sum(dataset.counts.values()) == len(sentences)
    assert all(len(splits) == 1 for splits in places.values())
    assert result.quarantine.counts == {}, "several translations are no conflict"
    titles = [warning.title for warning in result.warnings]
    assert titles == ["Several translations"]


def test_a_translation_in_test_is_left_out_of_training_whatever_its_source(tmp_path: Path, prepared) -> None:
    twice = [(source.replace(" the ", " a "), target.upper()) for source, target in made(200)]
    result, dataset = prepared(moses(tmp_path / "d", [*made(200), *twice]))
    left: dict[str, set[str]] = {}
    for split, _, translation in rows_of(dataset):
        left.setdefault(content_key(translation), set()).add(split)
    assert all(len(splits) == 1 for splits in left.values())
    lost = [rejection for _, _, rejection in result.quarantine.files]
    assert len(lost) == 400 - sum(dataset.counts.values()) > 0
    assert {rejection.reason for rejection in lost} == {"content in two splits"}
    wanted = {f"of the {split} split; the translation is held out too" for split in ("train", "validation")}
    assert {rejection.detail for rejection in lost} == wanted
    alone, _ = prepared(moses(tmp_path / "alone", made(200)))
    tested = {text for split, text, _ in rows_of(prepared(tmp_path / "alone")[1]) if split == "test"}
    assert tested <= {text for split, text, _ in rows_of(prepared(tmp_path / "d")[1]) if split == "test"}
    assert alone.quarantine.counts == {}


def test_a_given_split_is_followed_and_near_copies_across_it_are_left_out_of_training(tmp_path: Path, prepared) -> None:
    sentences = made(120)
    folder = moses(tmp_path / "d", [*sentences[:80], (f"{sentences[100][0].lower()}!!", "Algo novo.")], "train")
    moses(folder, sentences[80:100], "dev")
    moses(folder, sentences[100:], "test")
    result, dataset = prepared(folder)
    assert dataset.counts == {"train": 80, "validation": 20, "test": 20}
    assert {text for split, text, _ in rows_of(dataset) if split == "test"} == {s for s, _ in sentences[100:]}
    ((name, _, rejection),) = result.quarantine.files
    assert name == "train.en:line 81"
    assert rejection.reason in ("group in two splits", "content in two splits")
    assert dataset.manifest.metadata["split"]["from"] == "the files dev.en, test.en, train.en"


def test_a_column_gives_splits_groups_and_slices(tmp_path: Path, prepared) -> None:
    lines = ["source\ttarget\tsplit\tdoc\tkind"]
    for number, (source, target) in enumerate(made(120)):
        split = "test" if number >= 100 else "train"
        lines.append(f"{source}\t{target}\t{split}\td{number // 10}\t{'ui' if number % 2 else 'help'}")
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    rows = ROWS.with_options({"group_column": "doc"})
    result, dataset = prepared(tmp_path / "a.tsv", rows, slice_columns="kind")
    assert dataset.counts["test"] == 20
    assert dataset.counts["validation"] % 10 == 0, "cut from training by whole documents"
    assert result.plan.given.origin == "a column of the table"
    assert {value: counts["test"] for value, counts in dataset.slices["kind"].items()} == {"help": 10, "ui": 10}
    with pytest.raises(UserError, match="group_column needs a table"):
        prepared(moses(tmp_path / "d", made(10)), rows)
    with pytest.raises(UserError, match="slice_columns needs a table"):
        prepared(moses(tmp_path / "d", made(10)), slice_columns="kind")


def test_shifted_lines_are_counted_said_and_left_out(tmp_path: Path, prepared) -> None:
    sentences = [(f"{s} {' '.join(['word'] * (n * 7 % 13))}", f"{t} {' '.join(['termo'] * (n * 7 % 13))}")
                 for n, (s, t) in enumerate(made(480))]  # fmt: skip
    folder = moses(tmp_path / "d", sentences)
    targets = [target for _, target in sentences]
    (folder / "x.pt").write_text("".join(f"{t}\n" for t in [*targets[:240], "Uma linha a mais", *targets[240:-1]]))
    result, dataset = prepared(folder)
    found = dataset.manifest.metadata["source"]["shifted"]
    assert found.startswith("x.en: lines ")
    assert found.endswith(" to 480 fit 1 line later")
    count = result.quarantine.counts["shifted lines"]
    assert 240 <= count <= 240 + 160
    assert not any(int(row["source"].rpartition(" ")[2]) > 241 for split in SPLITS for row in dataset.iterate(split))
    kept = prepared(folder, ROWS.with_options({"skipped_rules": ["shifted lines"]}))[0]
    assert "shifted lines" not in kept.quarantine.counts


CATALOG = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'


def test_a_damaged_catalog_among_others_is_one_entry_and_alone_a_refusal(tmp_path: Path, prepared) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    entries = [f'msgid "{s}"\nmsgstr "{t}"\n' for s, t in made(60)]
    entries += ['#, fuzzy\nmsgid "a guess"\nmsgstr "um palpite"\n']
    entries += ['msgid "%d tree"\nmsgid_plural "%d trees"\nmsgstr[0] "%d árvore"\nmsgstr[1] "%d árvores"\n']
    (folder / "good.po").write_text(CATALOG + "\n".join(entries))
    (folder / "empty.po").write_text(CATALOG)
    (folder / "half.po").write_text(CATALOG + 'msgid "Paint it"\nmsgstr "Pinte-o"\n\nmsgid "a"\nmsgstr oops\n')
    result, dataset = prepared(folder)
    assert sum(dataset.counts.values()) == 60 + 2 + 1
    assert result.quarantine.counts == {"fuzzy": 1, "unreadable file": 2}
    details = {record["source"]: record["detail"] for record in result.quarantine.records()}
    assert details["empty.po"] == "empty.po is a catalog without an entry"
    assert details["half.po"].startswith("half.po, line 8: neither a keyword")
    with pytest.raises(UserError, match=r"^empty.po is a catalog without an entry$"):
        quick_look(str(folder / "empty.po"), ROWS)


def test_catalogs_of_the_language_are_chosen_and_turned_round_for_the_other_direction(tmp_path: Path, prepared) -> None:
    for code, word in (("pt_BR", "br"), ("pt", "pt"), ("de", "de")):
        folder = tmp_path / "d" / code / "LC_MESSAGES"
        folder.mkdir(parents=True)
        entries = [f'msgid "{s}"\nmsgstr "{t} {word}"\n' for s, t in made(40)]
        (folder / "x.po").write_text(CATALOG + "\n".join(entries))
    _, dataset = prepared(tmp_path / "d")
    assert {translation[-2:] for _, _, translation in rows_of(dataset)} == {"br"}
    turned = ROWS.with_options({"source_language": "pt", "target_language": "en"})
    _, dataset = prepared(tmp_path / "d", turned)
    assert {(text[-2:], translation[-2:] in ("pt", "br")) for _, text, translation in rows_of(dataset)} == {
        ("pt", False)
    }
    french = ROWS.with_options({"target_language": "fr"})
    with pytest.raises(UserError, match=r"holds gettext catalogs for de, pt, pt-br, but none for fr"):
        quick_look(str(tmp_path / "d"), french)


@pytest.mark.parametrize(
    ("files", "dataset", "said"),
    [
        ({"x.en": "a\nb\n", "x.pt": "a\n"}, "", "x.en has 2 lines and x.pt has 1; the two files must have the same"),
        ({"x.en": "a\n"}, "", "x.en has no matching file x.pt-BR beside it"),
        ({"x.en": "a\n"}, "x.en", "x.en has no matching file x.pt-BR beside it"),
        ({"README": "a"}, "", "holds no sentence pairs (1 other files); give 'demo', a folder"),
        ({}, "", "is empty; give 'demo', a folder"),
        ({"a.csv": "id,text\n1,b\n"}, "a.csv", "a.csv has no target column; expected one of target, tgt, pt-br"),
        ({"a.tsv": "Open\tOpen\n"}, "a.tsv", "none of the first 1 pairs can be used: 1 identical; first: a.tsv:line"),
        ({"a.tsv": ""}, "a.tsv", "has no sentence pairs"),
        ({"a.txt": "x"}, "a.txt", "is a file of an unknown kind; give 'demo'"),
        ({"a.tmx": "<tmx><body>"}, "a.tmx", "a.tmx, line 1: not valid XML"),
        ({"x.en": "a\n" * 3, "x.pt": "\n" * 3}, "", "none of the first 3 pairs can be used: 3 no target"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_line(
    files: dict[str, str], dataset: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    for name, content in files.items():
        (tmp_path / "d" / name).write_text(content)
    with pytest.raises(UserError) as refused:
        quick_look(str(tmp_path / "d" / dataset), ROWS)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_in_the_wrong_languages_are_refused_by_what_was_found(tmp_path: Path) -> None:
    german = "Der Ausschuss hat gestern die Ergebnisse seiner langen Arbeit veröffentlicht"
    english = "The committee has published the results of its long work yesterday"
    moses(tmp_path / "d", [(german, english)] * 5)
    with pytest.raises(UserError, match=r"5 wrong language; first: x.en:line 1: wrong language: de for en"):
        quick_look(str(tmp_path / "d"), ROWS)


def test_no_reason_is_given_twice_and_each_has_a_meaning() -> None:
    parts = [pairs.UNREADABLE, gettext_catalogs.REASONS, shifts.REASONS, cleaning.REASONS]
    assert len(ROWS.reasons) == sum(map(len, parts)) + 1


@pytest.mark.s3
def test_a_bucket_gives_the_same_data_set_as_the_folder_it_was_copied_from(
    tmp_path: Path, prepared, object_store_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}"
    folder = moses(tmp_path / "d", made(100))
    (folder / "pt").mkdir()
    (folder / "pt" / "a.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in made(200)[100:150]))
    (folder / "pt" / "b.po").write_text("".join(f'msgid "{s}"\nmsgstr "{t}"\n\n' for s, t in made(200)[150:]))
    for path in folder.rglob("*.*"):
        open_objects(uri).put(path.relative_to(folder).as_posix(), path)
    here, there = prepared(folder)[0], prepared(uri)[0]
    assert there.manifest.digest == here.manifest.digest
    assert sum(there.manifest.metadata["counts"].values()) == 200
    quick_look(f"{uri}/x.pt", ROWS)
    assert (
        prepared(f"{uri}/x.pt")[0].manifest.metadata["counts"]
        == prepared(folder / "x.en")[0].manifest.metadata["counts"]
    )
    before = source_state(f"{uri}/x.en", ROWS)
    open_objects(uri).put("x.pt", b"other")
    assert source_state(f"{uri}/x.en", ROWS) != before


@pytest.mark.demo
def test_the_demo_is_read_from_installed_packages_alone(prepared) -> None:
    quick_look("demo", ROWS)
    result, dataset = prepared("demo")
    assert sum(dataset.counts.values()) > 3000
    assert dataset.counts["test"] > 500
    assert "BSD" in dataset.manifest.metadata["licence"]
    assert result.quarantine.counts["no target"] > 100
    assert source_state("demo", ROWS) == source_state("packages:" + ",".join(ROWS.demo.packages), ROWS)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the package 'no-such-package' is not installed"):
        quick_look("packages:no-such-package", ROWS)
    monkeypatch.setattr(TranslationRows, "demo", type(ROWS.demo)(licence="", packages=("no-such",), extra="an-extra"))
    with pytest.raises(
        UserError, match=r"the demo's data: the package 'no-such' .* \(pip install 'trimtab\[an-extra\]'\)"
    ):
        quick_look("demo", ROWS)
    with pytest.raises(UserError, match="names no package"):
        quick_look("packages:", ROWS)
