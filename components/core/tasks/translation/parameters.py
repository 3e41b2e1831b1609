"""The parameters of translation: the shared ones with defaults that fit its demo, and its own. Knows no torch."""

from dataclasses import replace

from components.core.parameters import COMMON, SEQUENCES, Parameter, Range, with_defaults
from components.core.parameters.rules import FRACTION, NOT_NEGATIVE, SHARE

MAX_WORDS = 150
VOCABULARY_LEAST = 10_000
BEAM_SIZE, LENGTH_PENALTY = 1, 1.0
MOST_BEAMS = 12

_OWN = (
    Parameter(
        name="source_language", field="data_source_language", part="data", type=str, default="en",
        text="Language of the sentences to translate, as a code: en, pt-BR.",
    ),
    Parameter(
        name="target_language", field="data_target_language", part="data", type=str, default="pt-BR",
        text="Language of the translations, as a code.",
    ),
    Parameter(
        name="source_column", part="data", type=str, default="",
        text="Column of the table that holds the source sentences. Empty tries common names and language codes.",
    ),
    Parameter(
        name="target_column", part="data", type=str, default="",
        text="Column of the table that holds the translations. Empty tries common names and language codes.",
    ),
    Parameter(
        name="group_column", part="data", type=str, default="",
        text="Column of the table that keeps rows together: rows with the same value (one document) go to the same "
        "split. Empty for none.",
    ),
    Parameter(
        name="max_words", part="data", type=int, default=MAX_WORDS, rule=Range(low=1, high=1000),
        text="Maximum length of a sentence in words. Pairs with a longer one are quarantined.",
    ),
    Parameter(
        name="skipped_rules", part="data", type=list[str], default=[],
        text="Cleaning rules to skip, by their names on the data page, such as 'identical'.",
    ),
    Parameter(
        name="beam_size", part="network", type=int, default=BEAM_SIZE, rule=Range(low=1, high=MOST_BEAMS),
        text="Number of beam-search hypotheses, in evaluation and in the release. 1 is greedy decoding, the fastest.",
    ),
    Parameter(
        name="length_penalty", part="network", type=float, default=LENGTH_PENALTY, rule=Range(low=0, high=2),
        text="Beam search divides a hypothesis's log-probability by its length to the power of this number.",
    ),
    Parameter(
        name="general_sentences", part="training", type=str, default="",
        text="Text file (a path or an s3:// URI) with sentences from outside your domain, in the source language, one "
        "per line. Half of them, at most 200, are translated before and after tuning to report the change; the "
        "others can be replayed. Empty uses an embedded English sample.",
    ),
    Parameter(
        name="vocabulary_coverage", part="recipe", type=float, default=1.0, rule=FRACTION,
        text="Keep the vocabulary pieces that make up this fraction of the training text on each side, and all single "
        "characters. 1 keeps every piece that occurs, 0 the whole vocabulary.",
    ),
    Parameter(
        name="vocabulary_least", part="recipe", type=int, default=VOCABULARY_LEAST, rule=NOT_NEGATIVE,
        text="Minimum number of pieces to keep on each side. If fewer are left, the most frequent pieces of the "
        "pretrained vocabulary are kept as well, so that words missing from the training text stay whole.",
    ),
    Parameter(
        name="heads_fraction", part="recipe", type=float, default=1.0, rule=SHARE,
        text="Fraction of the attention heads to keep. Then feed-forward neurons are removed until the recipe's "
        "fraction of MACs is left.",
    ),
    Parameter(
        name="encoder_layers", part="recipe", type=int, default=0, rule=NOT_NEGATIVE,
        text="Number of encoder layers to keep. The layers that matter least on training text are removed first. 0 "
        "keeps all.",
    ),
    Parameter(
        name="decoder_layers", part="recipe", type=int, default=0, rule=NOT_NEGATIVE,
        text="Number of decoder layers to keep. The layers that matter least on training text are removed first. 0 "
        "keeps all.",
    ),
    Parameter(
        name="int8_kind", part="recipe", type=str, default="dynamic", choices=("dynamic", "weights"),
        text="How int8 is used: dynamic computes matrix products with integers; weights stores the weights as int8 "
        "and computes in float.",
    ),
    Parameter(
        name="int8_least_db", part="recipe", type=float, default=0.0, rule=Range(low=0, high=100),
        text="Minimum signal-to-noise ratio of each output of a graph, in decibels. The most harmful matrix products "
        "stay float until it is reached. 0 quantizes all of them.",
    ),
)  # fmt: skip

_DATASET = (
    "Sentence pairs: demo (catalogs of installed packages), a folder or file of Moses pairs (x.en and x.pt), a .tsv, "
    ".csv, .jsonl or .parquet table, a .tmx, .po or .mo file, a folder of these, an s3:// URI of these, or "
    "packages:NAME,NAME for the catalogs inside installed packages."
)

_NO_MEANING = (
    "head_epochs",
    "batch_norm",
    "prune_price",
    "prune_allocation",
    "prune_to_fit",
    "calibration_method",
    "calibration_images",
    "rare_classes",
    "near_duplicates",
    "allow_paths",
)
"""There is no head to train first, no batch norm, no calibration of dynamic integers, there are no classes, and no
channels that have a price."""

_COMMON = tuple(
    replace(one, text=_DATASET) if one.name == "dataset" else one for one in COMMON if one.name not in _NO_MEANING
)

PARAMETERS = (
    *with_defaults(
        _COMMON,
        backbones=["firefox_en_pt_tiny"], prune_targets=[1.0], round_to=64, batch_size=32, epochs=1, distill_epochs=2,
        learning_rate=0.0003, label_smoothing=0.1, layer_decay=1.0,
        weight_decay=0.01, distill_learning_rate=0.0003, distill_temperature=1.0,
    ),
    *SEQUENCES,
    *_OWN,
)  # fmt: skip
