import numpy as np
import pytest

from components.core.data.ingestion.items import Rejection
from components.core.tasks.translation import gettext_catalogs, pairs
from components.core.tasks.translation.cleaning import (
    REASONS,
    CleaningRules,
    Counts,
    content_key,
    normalized,
    shift_found,
)
from components.core.tasks.translation.languages import expected_scripts, identified
from components.core.tasks.translation.pairs import Pair

PORTUGUESE = "O comitê publicou ontem os resultados do seu trabalho"
GERMAN = "Der Ausschuss hat gestern die Ergebnisse seiner Arbeit veröffentlicht"
RULES = CleaningRules(source="en", target="pt-BR")
GOOD = [
    ("Open the file", "Abra o arquivo"),
    ("OK, close it", "Fechar"),
    ("It costs 1,000.50 in 2 shops", "Custa 1.000,50 em 2 lojas"),
    ("%s of %d files: <b>{name}</b>", "%s de %d arquivos: <b>{name}</b>"),
    ("See https://example.org/a.", "Veja em https://example.org/a!"),
    ("100% sure and 50% discount", "100% de certeza e 50% de desconto"),
    ("São João is a person", "São João é uma pessoa, «à noite»"),
    ("The committee has published the results of its work", "O comitê publicou os resultados do seu trabalho"),
]
BAD = [
    ("no source", "  ", "Abra"),
    ("no target", "Open", "\u00a0"),
    ("identical", "Firefox is here", "Firefox  is here"),
    ("control characters", "Open \x1b[31mit", "Abra-o agora"),
    ("control characters", "Open it", "Abra \ue000 ele"),
    ("encoding damage", "Portuguese is a language", "O portuguÃªs Ã© uma lÃ\xadngua"),
    ("encoding damage", "It is \ufffd here", "Ele está aqui"),
    ("too long", "word " * 151, "palavra " * 151),
    ("too long", "a" * 4001, "b" * 4001),
    ("length ratio", "Open the file that was saved here before", "Abra"),
    ("few letters", "-> --- ->", "<- === <-"),
    ("few letters", "%s: {name}", "{name} - %s"),
    ("numbers differ", "Take 3 of them", "Pegue 4 deles"),
    ("numbers differ", "Take 1.5 of them", "Pegue 15 e 1 deles"),
    ("URLs differ", "See http://a.org now", "Veja http://b.org agora"),
    ("URLs differ", "Write to me@a.org", "Escreva para voce@a.org"),
    ("placeholders differ", "Delete %s now", "Apague agora"),
    ("placeholders differ", "Delete {name} now", "Apague {nome} agora"),
    ("placeholders differ", "<b>Delete</b> it", "<i>Apague</i> isso"),
    ("placeholders differ", "Hello %(name)s there", "Olá %(nome)s aqui"),
    ("placeholders differ", "%PRODUCTNAME is open", "O programa está aberto"),
    ("wrong script", "Open the file", "Откройте файл сейчас"),
    ("wrong language", "Die Ergebnisse der Arbeit wurden gestern vom Ausschuss veröffentlicht", PORTUGUESE),
    ("wrong language", "The committee has published the results of its work", GERMAN),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), GOOD)
def test_a_good_pair_passes_every_rule_and_is_normalised(source: str, target: str) -> None:
    assert RULES.check(Pair(name="1", source=f" {source}\n", target=target.replace(" ", "  "))) == (source, target)


@pytest.mark.parametrize(("reason", "source", "target"), BAD)
def test_a_bad_pair_is_refused_by_its_rule(reason: str, source: str, target: str) -> None:
    refused = RULES.check(Pair(name="1", source=source, target=target))
    assert isinstance(refused, Rejection)
    assert refused.reason == reason
    assert len(refused.detail) < 200


def test_every_reason_is_explained_and_seen() -> None:
    assert {reason for reason, *_ in BAD} == set(REASONS)
    others = {**pairs.UNREADABLE, **gettext_catalogs.REASONS}
    assert not set(others) & set(REASONS)


def test_a_rule_can_be_left_out_and_an_unknown_one_is_refused() -> None:
    pair = Pair(name="1", source="Firefox", target="Firefox")
    assert CleaningRules(skipped=("identical",)).check(pair) == ("Firefox", "Firefox")
    with pytest.raises(ValueError, match="unknown cleaning rule 'same'; rules: identical, too long"):
        CleaningRules(skipped=("same",))


def test_nothing_is_lost_every_pair_is_kept_or_counted_with_examples() -> None:
    counts = Counts()
    everything = [("", source, target) for source, target in GOOD] + BAD
    for number, (_, source, target) in enumerate(everything):
        pair = Pair(name=f"line {number}", source=source, target=target)
        counts.add(pair.name, RULES.check(pair))
    counts.add("line x", RULES.check(Pair(name="line x", problem=Rejection("not UTF-8", "byte 3 of x.pt"))))
    assert (counts.kept, counts.total) == (len(GOOD), len(everything) + 1)
    assert counts.refused["placeholders differ"] == 5
    assert len(counts.examples["placeholders differ"]) == 3
    assert counts.examples["not UTF-8"] == [("line x", "byte 3 of x.pt")]


def test_near_duplicates_and_all_translations_of_a_source_have_one_key() -> None:
    assert content_key("Open file 12!") == content_key("open  FILE 7") != content_key("open files 7")
    assert content_key("…") != content_key("!"), "texts without letters stay apart"


def test_normalising_composes_letters_and_joins_white_space() -> None:
    assert normalized("\u2003e\u0301\t\nx ") == "é x"


def test_shifted_lines_are_found_with_their_place_and_direction() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(3.5, 0.7, 1000).astype(int) + 1
    sources = ["s" * n for n in lengths]
    targets = ["t" * max(1, int(n * rng.normal(1.1, 0.1))) for n in lengths]
    assert shift_found(sources, targets) is None
    assert shift_found(sources[:900], targets[1:901]) == (0, -1)
    assert shift_found(sources[2:902], targets[:900]) == (0, 2)
    late = [*targets[:600], "t", *targets[600:999]]
    assert shift_found(sources, late) == (600, 1)
    assert shift_found(sources[:40], targets[1:41]) is None, "too few to tell"
    assert shift_found(["a"] * 300, ["b"] * 300) is None, "equal lengths tell nothing"


def test_short_texts_and_unknown_languages_are_not_judged() -> None:
    assert identified("Datei öffnen") is None
    assert expected_scripts("pt-BR") == {"LATIN"}
    assert expected_scripts("ja") == {"CJK", "HIRAGANA", "KATAKANA"}
    assert expected_scripts("tlh") == frozenset()
