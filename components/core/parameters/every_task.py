"""Parameters of every task: data, budget, search, training, compression, measurement, release."""

from components.core.parameters.parameter import Parameter
from components.core.parameters.rules import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FRACTION,
    LIMIT,
    LIMIT_FROM_ZERO,
    NO_LIMIT,
    NOT_NEGATIVE,
    POSITIVE,
    PROPER_FRACTION,
    SHARE,
    Range,
)

MOST_DATA_PARTS = 100
"""Each is a task, and a node of the graph."""

_DATA = (
    Parameter(
        name="dataset", field="data_source", type=str, default="demo",
        text="Labelled data: demo (embedded), a folder, a .parquet, .csv or .jsonl file, or an s3:// URI of these.",
    ),
    Parameter(
        name="slice_columns", field="data_slice_columns", type=str, default="",
        text="Columns of the table, separated by commas, whose values form groups (slices) that are reported and "
        "judged one by one. Empty for none.",
    ),
    Parameter(
        name="validation_fraction", field="data_validation_fraction", type=float, default=0.15, rule=PROPER_FRACTION,
        text="Share of the data used to make every choice (validation).",
    ),
    Parameter(
        name="test_fraction", field="data_test_fraction", type=float, default=0.25, rule=PROPER_FRACTION,
        text="Share of the data held out for the final test, which reads it once.",
    ),
    Parameter(
        name="split", type=str, default="auto", choices=("auto", "given", "content"),
        text="auto follows a split that the data come with (folders, tables or a column) and cuts missing parts from "
        "training; given requires one; content splits by a hash of each row.",
    ),
    Parameter(
        name="rare_classes", type=str, default="refuse", choices=("refuse", "leave_out"),
        text="A class with too few usable rows: refuse the data, or leave_out the class and say so in the report.",
    ),
    Parameter(
        name="near_duplicates", type=str, default="report", choices=("report", "group"),
        text="Rows that are almost the same (of images: re-encoded, resized or slightly brightened copies): report how "
        "many test rows have one in training, or group them, so that all copies lie in one split.",
    ),
    Parameter(
        name="allow_paths", type=list[str], default=[],
        text="Folders and s3:// URIs that the rows of a table may name. Without it they name files in the table's own "
        "folder, or its own bucket.",
    ),
    Parameter(
        name="data_parts", type=int, default=1, rule=Range(low=1, high=MOST_DATA_PARTS),
        text="Read and check the data in this many parallel tasks. The prepared data are the same for any number.",
    ),
)  # fmt: skip

_BUDGET = (
    Parameter(
        name="max_drop", field="budget_max_drop", type=float, default=NO_LIMIT, rule=LIMIT_FROM_ZERO,
        text="How many percentage points of accuracy the release may lose against the float32 baseline. -1 is no "
        "limit; 0 allows no loss.",
    ),
    Parameter(
        name="max_latency_ms", field="budget_max_latency_ms", type=float, default=NO_LIMIT, rule=LIMIT,
        text="Longest median latency of the release at batch 1, warm, in milliseconds. -1 is no limit.",
    ),
    Parameter(
        name="max_size_mb", field="budget_max_size_mb", type=float, default=NO_LIMIT, rule=LIMIT,
        text="Largest size of the release, in megabytes: its ONNX files, and a vocabulary beside them. -1 is no limit.",
    ),
)  # fmt: skip

_SEARCH = (
    Parameter(
        name="backbones", makes_network=True, field="search_backbones", type=list[str],
        default=["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"],
        text="Pretrained networks to compare, by their names in the catalog; the search starts from the best one "
        "within the limits.",
    ),
    Parameter(
        name="prune_targets", field="search_prune_targets", type=list[float], default=[0.58, 0.48], rule=SHARE,
        text="Fractions of the multiply-accumulates to keep (of the time, with prune_price latency); 1 prunes nothing. "
        "The search tries one recipe per fraction.",
    ),
    Parameter(
        name="epochs", makes_network=True, field="search_epochs", type=int, default=3, rule=NOT_NEGATIVE,
        text="Epochs of fine-tuning the whole network. 0 trains the new head only.",
    ),
    Parameter(
        name="seed", field="search_seed", type=int, default=0, rule=NOT_NEGATIVE,
        text="Random seed. The same seed and the same data give the same release.",
    ),
    Parameter(
        name="catalog", makes_network=True, type=str, default="",
        text="YAML file, or its s3:// URI, with further backbones or mirrors. Empty for the built-in catalog alone.",
    ),
    Parameter(
        name="max_parameters_m", makes_network=True, type=float, default=NO_LIMIT, rule=LIMIT,
        text="Largest backbone, in million parameters. -1 is no limit.",
    ),
    Parameter(
        name="max_macs_m", makes_network=True, type=float, default=NO_LIMIT, rule=LIMIT,
        text="Heaviest backbone, in million multiply-accumulates. -1 is no limit.",
    ),
    Parameter(
        name="max_backbone_latency_ms", makes_network=True, type=float, default=NO_LIMIT, rule=LIMIT,
        text="Slowest backbone before compression, as float32 at batch 1, in milliseconds. -1 is no limit.",
    ),
)  # fmt: skip

_TRAINING = (
    Parameter(
        name="head_epochs", makes_network=True, type=int, default=30, rule=NOT_NEGATIVE,
        text="Epochs of the new head on the frozen network's features, before the whole network is trained.",
    ),
    Parameter(
        name="batch_size", type=int, default=64, rule=AT_LEAST_ONE,
        text="Examples per optimizer step.",
    ),
    Parameter(
        name="optimizer", type=str, default="adamw", choices=("adamw", "sgd"),
        text="adamw, or sgd with Nesterov momentum.",
    ),
    Parameter(
        name="learning_rate", makes_network=True, type=float, default=0.001, rule=POSITIVE,
        text="Learning rate of fine-tuning at the head, after warm-up.",
    ),
    Parameter(
        name="schedule", type=str, default="polynomial",
        choices=("polynomial", "step", "cosine", "constant", "inverse_sqrt"),
        text="How the learning rate falls from step to step: polynomial, step, cosine, constant or inverse_sqrt.",
    ),
    Parameter(
        name="power", type=float, default=1.0, rule=POSITIVE,
        text="Exponent γ of the polynomial schedule η₀(1−t/T)^γ.",
    ),
    Parameter(
        name="step_epochs", type=int, default=1, rule=AT_LEAST_ONE,
        text="Epochs between two steps of the step schedule.",
    ),
    Parameter(
        name="step_gamma", type=float, default=0.5, rule=POSITIVE,
        text="The step schedule multiplies the learning rate by this factor at each step.",
    ),
    Parameter(
        name="warmup_fraction", type=float, default=0.05, rule=BELOW_ONE,
        text="Share of all steps used for warm-up, in which the learning rate rises from nearly 0.",
    ),
    Parameter(
        name="momentum", type=float, default=0.9, rule=BELOW_ONE,
        text="Momentum of sgd, β₁ of adamw.",
    ),
    Parameter(
        name="weight_decay", type=float, default=0.05, rule=NOT_NEGATIVE,
        text="Weight decay. Biases and normalisation parameters have none.",
    ),
    Parameter(
        name="layer_decay", type=float, default=0.9, rule=SHARE,
        text="Layer-wise decay: factor on the learning rate per layer group away from the head. 1 is no decay.",
    ),
    Parameter(
        name="layer_rates", makes_network=True, type=str, default="decay", choices=("decay", "gradual", "auto_rgn"),
        text="How fast layers learn in fine-tuning: decay (by layer_decay), gradual (as decay, but layers are unfrozen "
        "one after the other from the head down, all of them by half of the epochs), or auto_rgn (in each epoch by "
        "relative gradient norm; replaces layer_decay).",
    ),
    Parameter(
        name="max_gradient_norm", type=float, default=NO_LIMIT, rule=LIMIT,
        text="Gradient clipping: a longer gradient, over all weights, is scaled down to this norm. -1 is no limit.",
    ),
    Parameter(
        name="label_smoothing", makes_network=True, type=float, default=0.0, rule=BELOW_ONE,
        text="Share of the label's probability that is spread evenly over all classes.",
    ),
    Parameter(
        name="ema_decay", type=float, default=0.95, rule=BELOW_ONE,
        text="Decay per step of the weights' moving average (EMA), which is validated and kept. 0 turns it off.",
    ),
    Parameter(
        name="precision", type=str, default="auto", choices=("auto", "float32", "bfloat16", "float16"),
        text="auto (bfloat16 on CUDA, float32 on a CPU), float32, bfloat16, or float16 with a scaled loss for GPUs "
        "without bfloat16.",
    ),
    Parameter(
        name="batch_norm", type=str, default="frozen", choices=("frozen", "train"),
        text="frozen keeps the pretrained statistics (best for little data); train takes each batch's own.",
    ),
    Parameter(
        name="patience", type=int, default=0, rule=NOT_NEGATIVE,
        text="Stop training after this many epochs without a better validation result. 0 never stops early.",
    ),
    Parameter(
        name="checkpoint_seconds", type=int, default=60, rule=NOT_NEGATIVE,
        text="Seconds between checkpoints; a killed training resumes from the last one. 0 saves one after every step.",
    ),
    Parameter(
        name="num_processes", type=int, default=1, rule=AT_LEAST_ONE,
        text="Processes that share each batch in training (on CUDA one per device). It must divide batch_size "
        "(where batches are counted by rows).",
    ),
    Parameter(
        name="accumulation_steps", type=int, default=1, rule=AT_LEAST_ONE,
        text="Gradient accumulation: each process computes its share of a batch in this many parts, to save memory.",
    ),
)  # fmt: skip

_COMPRESSION = (
    Parameter(
        name="importance", type=str, default="taylor", choices=("taylor", "magnitude"),
        text="How channels are ranked for pruning: taylor (first-order change of the loss) or magnitude.",
    ),
    Parameter(
        name="prune_price", type=str, default="macs", choices=("macs", "latency"),
        text="What channels cost, and what prune_targets are fractions of: macs, or latency, predicted for onnxruntime "
        "on the machine that prunes from measurements of each layer.",
    ),
    Parameter(
        name="prune_to_fit", type=bool, default=False,
        text="Choose prune_targets from the limits: prune as little as max_latency_ms and max_size_mb allow, by "
        "measuring untrained students before the training.",
    ),
    Parameter(
        name="prune_allocation", part="recipe", type=str, default="greedy", choices=("greedy", "exact"),
        text="How pruning divides its target among the layers: greedy (removes the least important channels of the "
        "whole network first), or exact (measures on training images how much each width of each layer changes the "
        "outputs, and picks the widths with the smallest total).",
    ),
    Parameter(
        name="weight_sparsity", part="recipe", type=float, default=0.0, rule=BELOW_ONE,
        text="Weight pruning: share of the weights that become zero and stay zero in training, after channels were "
        "removed. onnxruntime computes with zeros as with any number: the model gets no faster and no smaller, but "
        "compresses better. 0 is none.",
    ),
    Parameter(
        name="sparsity_pattern", part="recipe", type=str, default="unstructured", choices=("unstructured", "2:4"),
        text="Which weights weight_sparsity takes: the smallest of the whole network (unstructured), or the two "
        "smallest of each four along a layer's inputs (2:4, with weight_sparsity 0.5), for sparse tensor cores.",
    ),
    Parameter(
        name="round_to", type=int, default=16, rule=AT_LEAST_ONE,
        text="Pruned layers keep a multiple of this many channels. Numbers that are not multiples of 16 make int8 "
        "depthwise convolutions twice as slow in onnxruntime.",
    ),
    Parameter(
        name="distill_epochs", type=int, default=3, rule=NOT_NEGATIVE,
        text="Epochs of distillation. The baseline trains for as many more epochs.",
    ),
    Parameter(
        name="distill_learning_rate", type=float, default=0.001, rule=POSITIVE,
        text="Learning rate of distillation, and of the baseline's extra epochs.",
    ),
    Parameter(
        name="distill_alpha", type=float, default=0.9, rule=FRACTION,
        text="Weight α of the teacher in the loss (1−α)·L₀ + α·T²·KL.",
    ),
    Parameter(
        name="distill_temperature", type=float, default=2.0, rule=POSITIVE,
        text="Temperature T of the softened outputs.",
    ),
    Parameter(
        name="calibration_method", type=str, default="percentile", choices=("minmax", "percentile", "entropy"),
        text="How the int8 model's activation ranges are chosen: minmax, percentile or entropy.",
    ),
    Parameter(
        name="calibration_images", type=int, default=256, rule=AT_LEAST_ONE,
        text="Training examples that set the int8 model's activation ranges.",
    ),
)  # fmt: skip

_MEASUREMENT = (
    Parameter(
        name="latency_threads", type=int, default=1, rule=AT_LEAST_ONE,
        text="Threads that onnxruntime uses when latency is measured.",
    ),
    Parameter(
        name="latency_rounds", type=int, default=50, rule=AT_LEAST_ONE,
        text="Minimum number of timed calls per model; more follow until the speed-up is known to ±3 %.",
    ),
    Parameter(
        name="price_per_core_hour", type=float, default=0.0, rule=NOT_NEGATIVE,
        text="Price of one CPU core for an hour, in any currency. From it and the best measured throughput follows the "
        "cost per million predictions. 0 shows no cost.",
    ),
)  # fmt: skip

COMMON = (*_DATA, *_BUDGET, *_SEARCH, *_TRAINING, *_COMPRESSION, *_MEASUREMENT)

RELEASE = (
    Parameter(
        name="release_name", field="release_name", type=str, default="model",
        text="Name of the release in the store: letters, digits, dots, hyphens and underscores.",
    ),
)  # fmt: skip
"""Of a first release; a retraining keeps the name of the champion's."""
