import numpy as np
import pytest

from components.core.data.ingestion.items import Rejection
from components.core.tasks.translation import gettext_catalogs, pairs
from components.core.tasks.translation.cleaning import (
    REASONS,
    CleaningRules,
    content_key,
    normalized,
)
from components.core.tasks.translation.languages import expected_scripts, identified
from components.core.tasks.translation.pairs import Pair
from components.core.tasks.translation.shifts import shifts_found

PORTUGUESE = "O comitê publicou ontem os resultados do seu trabalho"
GERMAN = "Der Ausschuss hat gestern die Ergebnisse seiner Arbeit veröffentlicht"
RULES = CleaningRules(source="en", target="pt-BR")
GOOD = [
    ("Open the file", "Abra o arquivo"),
    ("OK, close it", "Fechar"),
    ("It costs 1,000.50 in 2 shops", "Custa 1.000,50 em 2 lojas"),
    ("%s of %d files: <b>{name}</b>", "%s de %d arquivos: <b>{name}</b>"),
    ("See https://example.org/a.", "Veja em https://example.org/a!"),
    ("the {}st of them", "o {}º deles"),
    ("{}rd", "{}º"),
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


def test_the_longest_sentence_is_a_setting() -> None:
    pair = Pair(name="1", source="word " * 151, target="palavra " * 151)
    assert isinstance(CleaningRules(max_words=151).check(pair), tuple)
    short = Pair(name="1", source="one two three", target="um dois")
    assert CleaningRules(max_words=2).check(short) == Rejection("too long", "3 words, 13 characters")
    with pytest.raises(ValueError, match="max_words must be at least 1, got 0"):
        CleaningRules(max_words=0)


def test_near_duplicates_and_all_translations_of_a_source_have_one_key() -> None:
    assert content_key("Open file 12!") == content_key("open  FILE 7") != content_key("open files 7")
    assert content_key("…") != content_key("!"), "texts without letters stay apart"


def test_normalising_composes_letters_and_joins_white_space() -> None:
    assert normalized("\u2003e\u0301\t\nx ") == "é x"


def test_shifted_lines_are_found_with_their_place_and_direction() -> None:
    rng = np.random.default_rng(0)
    sources = (rng.lognormal(3.5, 0.7, 1000).astype(int) + 1).tolist()
    targets = [max(1, int(n * rng.normal(1.1, 0.1))) for n in sources]
    assert shifts_found(sources, targets) == []
    (whole,) = shifts_found(sources[:900], targets[1:901])
    assert (whole.start, whole.stop, whole.lines) == (0, 900, -1)
    assert str(whole) == "lines 1 to 900 fit 1 line earlier"
    assert [shift.lines for shift in shifts_found(sources[2:902], targets[:900])] == [2]
    (late,) = shifts_found(sources, [*targets[:600], 1, *targets[600:999]])
    assert (late.lines, late.stop) == (1, 1000)
    assert 450 <= late.start <= 600, "every line that is wrong, and few that are right"
    (middle,) = shifts_found(sources, [*targets[:400], 1, *targets[400:699], *targets[700:]])
    assert 250 <= middle.start <= 400
    assert 700 <= middle.stop <= 850
    assert shifts_found(sources[:40], targets[1:41]) == [], "too few to tell"
    assert shifts_found([1] * 300, [2] * 300) == [], "equal lengths tell nothing"


def test_short_texts_and_unknown_languages_are_not_judged() -> None:
    assert identified("Datei öffnen") is None
    assert expected_scripts("pt-BR") == {"LATIN"}
    assert expected_scripts("ja") == {"CJK", "HIRAGANA", "KATAKANA"}
    assert expected_scripts("tlh") == frozenset()
