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
    SEED,
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
        text="Columns of the table, separated by commas. Rows with the same value in such a column form a slice, "
        "which is measured and judged separately. Empty for none.",
    ),
    Parameter(
        name="validation_fraction", field="data_validation_fraction", type=float, default=0.15, rule=PROPER_FRACTION,
        text="Fraction of the data for validation. All choices are made on it.",
    ),
    Parameter(
        name="test_fraction", field="data_test_fraction", type=float, default=0.25, rule=PROPER_FRACTION,
        text="Fraction of the data for the final test. A run reads it only once.",
    ),
    Parameter(
        name="split", type=str, default="auto", choices=("auto", "given", "content"),
        text="Which split to use: auto uses the one that comes with the data (folders, tables or a column) and takes "
        "missing parts from training; given requires such a split; content splits by a hash of each row.",
    ),
    Parameter(
        name="rare_classes", type=str, default="refuse", choices=("refuse", "leave_out"),
        text="If a class has too few usable rows: refuse the data, or leave_out the class and say so in the report.",
    ),
    Parameter(
        name="near_duplicates", type=str, default="report", choices=("report", "group"),
        text="What to do about rows that are almost equal, such as re-encoded, resized or slightly brightened images: "
        "report how many test rows have a near copy in training, or group copies, so that all lie in one split.",
    ),
    Parameter(
        name="allow_paths", type=list[str], default=[],
        text="Further folders and s3:// URIs that a table's rows may point to. Without it, rows may only point to "
        "files in the table's own folder or bucket.",
    ),
    Parameter(
        name="data_parts", type=int, default=1, rule=Range(low=1, high=MOST_DATA_PARTS),
        text="Read and check the data in this many parallel tasks. The prepared data are the same for any number.",
    ),
)  # fmt: skip

_BUDGET = (
    Parameter(
        name="max_drop", field="budget_max_drop", type=float, default=NO_LIMIT, rule=LIMIT_FROM_ZERO,
        text="Maximum drop in accuracy against the float32 baseline, in percentage points. -1 is no limit; 0 allows "
        "no drop.",
    ),
    Parameter(
        name="max_latency_ms", field="budget_max_latency_ms", type=float, default=NO_LIMIT, rule=LIMIT,
        text="Maximum latency of the release in milliseconds: the median at batch size 1, after warm-up. -1 is no "
        "limit.",
    ),
    Parameter(
        name="max_size_mb", field="budget_max_size_mb", type=float, default=NO_LIMIT, rule=LIMIT,
        text="Maximum size of the release in megabytes: its ONNX files, and the vocabulary if it has one. -1 is no "
        "limit.",
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
        text="How much of the network to keep, as fractions of its multiply-accumulates (with prune_price latency, of "
        "its latency). The search tries one recipe per fraction; 1 prunes nothing.",
    ),
    Parameter(
        name="epochs", makes_network=True, field="search_epochs", type=int, default=3, rule=NOT_NEGATIVE,
        text="Epochs of fine-tuning the whole network. 0 trains the new head only.",
    ),
    Parameter(
        name="seed", field="search_seed", type=int, default=0, rule=SEED,
        text="Random seed. The same seed and the same data give the same release.",
    ),
    Parameter(
        name="catalog", makes_network=True, type=str, default="",
        text="YAML file (a path or an s3:// URI) that adds backbones or mirrors to the built-in catalog. Empty for "
        "none.",
    ),
    Parameter(
        name="max_parameters_m", makes_network=True, type=float, default=NO_LIMIT, rule=LIMIT,
        text="Maximum number of parameters of a backbone, in millions. -1 is no limit.",
    ),
    Parameter(
        name="max_macs_m", makes_network=True, type=float, default=NO_LIMIT, rule=LIMIT,
        text="Maximum number of multiply-accumulates of a backbone, in millions. -1 is no limit.",
    ),
    Parameter(
        name="max_backbone_latency_ms", makes_network=True, type=float, default=NO_LIMIT, rule=LIMIT,
        text="Maximum latency of a backbone before compression, as float32 at batch size 1, in milliseconds. -1 is no "
        "limit.",
    ),
)  # fmt: skip

_TRAINING = (
    Parameter(
        name="head_epochs", makes_network=True, type=int, default=30, rule=NOT_NEGATIVE,
        text="Epochs of training only the new head, before the whole network is trained.",
    ),
    Parameter(
        name="batch_size", type=int, default=64, rule=AT_LEAST_ONE,
        text="Examples per optimizer step.",
    ),
    Parameter(
        name="optimizer", type=str, default="adamw", choices=("adamw", "sgd"),
        text="Optimizer: adamw, or sgd with Nesterov momentum.",
    ),
    Parameter(
        name="learning_rate", makes_network=True, type=float, default=0.001, rule=POSITIVE,
        text="Learning rate of fine-tuning, for the head, after warm-up.",
    ),
    Parameter(
        name="schedule", type=str, default="polynomial",
        choices=("polynomial", "step", "cosine", "constant", "inverse_sqrt"),
        text="How the learning rate changes over the steps: polynomial, step, cosine, constant or inverse_sqrt.",
    ),
    Parameter(
        name="power", type=float, default=1.0, rule=POSITIVE,
        text="Exponent γ of the polynomial schedule η₀(1−t/T)^γ.",
    ),
    Parameter(
        name="step_epochs", type=int, default=1, rule=AT_LEAST_ONE,
        text="Epochs between two changes of the step schedule.",
    ),
    Parameter(
        name="step_gamma", type=float, default=0.5, rule=POSITIVE,
        text="Factor by which each change of the step schedule multiplies the learning rate.",
    ),
    Parameter(
        name="warmup_fraction", type=float, default=0.05, rule=BELOW_ONE,
        text="Fraction of all steps used for warm-up, in which the learning rate rises from nearly 0.",
    ),
    Parameter(
        name="momentum", type=float, default=0.9, rule=BELOW_ONE,
        text="Momentum of sgd, or β₁ of adamw.",
    ),
    Parameter(
        name="weight_decay", type=float, default=0.05, rule=NOT_NEGATIVE,
        text="Weight decay. Biases and normalisation parameters have none.",
    ),
    Parameter(
        name="layer_decay", type=float, default=0.9, rule=SHARE,
        text="Layer-wise learning rates: with each layer group further from the head, the rate is multiplied by this "
        "factor. 1 is the same rate everywhere.",
    ),
    Parameter(
        name="layer_rates", makes_network=True, type=str, default="decay", choices=("decay", "gradual", "auto_rgn"),
        text="Learning rates of the layers in fine-tuning: decay, gradual or auto_rgn. decay uses layer_decay. "
        "gradual does too, and unfreezes the layers one by one from the head down, all of them by half of the "
        "epochs. auto_rgn uses each layer's relative gradient norm, measured in every epoch, and ignores "
        "layer_decay.",
    ),
    Parameter(
        name="max_gradient_norm", type=float, default=NO_LIMIT, rule=LIMIT,
        text="Gradient clipping: maximum norm of the gradient over all weights. -1 is no limit.",
    ),
    Parameter(
        name="label_smoothing", makes_network=True, type=float, default=0.0, rule=BELOW_ONE,
        text="Fraction of the label's probability that is spread evenly over all classes.",
    ),
    Parameter(
        name="ema_decay", type=float, default=0.95, rule=BELOW_ONE,
        text="Decay per step of the moving average of the weights (EMA). The averaged weights are validated and "
        "kept. 0 turns it off.",
    ),
    Parameter(
        name="precision", type=str, default="auto", choices=("auto", "float32", "bfloat16", "float16"),
        text="Number format in training: auto (bfloat16 on CUDA, float32 on a CPU), float32, bfloat16, or float16 "
        "with a scaled loss for GPUs without bfloat16.",
    ),
    Parameter(
        name="batch_norm", type=str, default="frozen", choices=("frozen", "train"),
        text="Statistics of batch norm: frozen keeps the pretrained ones (best for little data); train takes those of "
        "each batch.",
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
        text="Number of training processes (on CUDA one per device). Each takes an equal part of every batch, so it "
        "must divide batch_size.",
    ),
    Parameter(
        name="accumulation_steps", type=int, default=1, rule=AT_LEAST_ONE,
        text="Gradient accumulation: each process computes its part of a batch in this many steps, to save memory.",
    ),
)  # fmt: skip

_COMPRESSION = (
    Parameter(
        name="importance", type=str, default="taylor", choices=("taylor", "magnitude"),
        text="How channels are ranked for pruning: taylor (first-order change of the loss) or magnitude.",
    ),
    Parameter(
        name="prune_price", type=str, default="macs", choices=("macs", "latency"),
        text="What prune_targets are fractions of: macs (multiply-accumulates), or latency in onnxruntime on the "
        "machine that prunes, predicted from measurements of each layer.",
    ),
    Parameter(
        name="prune_to_fit", type=bool, default=False,
        text="Derive prune_targets from the limits: measure untrained networks before the training, and prune as "
        "little as max_latency_ms and max_size_mb allow.",
    ),
    Parameter(
        name="prune_allocation", part="recipe", type=str, default="greedy", choices=("greedy", "exact"),
        text="How pruning is divided among the layers: greedy or exact. greedy removes the least important channels "
        "of the whole network first. exact measures on training images how much each possible width of each "
        "layer changes the outputs, and picks the widths with the smallest total change.",
    ),
    Parameter(
        name="weight_sparsity", part="recipe", type=float, default=0.0, rule=BELOW_ONE,
        text="Weight pruning: fraction of the weights to set to zero after channels were removed; they stay zero in "
        "training. onnxruntime does not skip zeros, so the model gets neither faster nor smaller, but its file "
        "compresses better. 0 is none.",
    ),
    Parameter(
        name="sparsity_pattern", part="recipe", type=str, default="unstructured", choices=("unstructured", "2:4"),
        text="Which weights become zero: the smallest of the whole network (unstructured), or the two smallest of "
        "every four along a layer's inputs (2:4, for sparse tensor cores; needs weight_sparsity 0.5).",
    ),
    Parameter(
        name="round_to", type=int, default=16, rule=AT_LEAST_ONE,
        text="A pruned layer keeps a multiple of this many channels. In onnxruntime, int8 depthwise convolutions take "
        "twice as long if their number of channels is not a multiple of 16.",
    ),
    Parameter(
        name="distill_epochs", type=int, default=3, rule=NOT_NEGATIVE,
        text="Epochs of distillation. The baseline trains for as many extra epochs, so that the comparison is fair.",
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
        text="Temperature T that softens the outputs of teacher and student.",
    ),
    Parameter(
        name="calibration_method", type=str, default="percentile", choices=("minmax", "percentile", "entropy"),
        text="How the int8 model's activation ranges are chosen: minmax, percentile or entropy.",
    ),
    Parameter(
        name="calibration_images", type=int, default=256, rule=AT_LEAST_ONE,
        text="Number of training examples from which the int8 model's activation ranges are computed.",
    ),
)  # fmt: skip

_MEASUREMENT = (
    Parameter(
        name="latency_threads", type=int, default=1, rule=AT_LEAST_ONE,
        text="Number of onnxruntime threads when latency is measured.",
    ),
    Parameter(
        name="latency_rounds", type=int, default=50, rule=AT_LEAST_ONE,
        text="Minimum number of timed calls per model. More follow until the speed-up is known to within ±3 %.",
    ),
    Parameter(
        name="price_per_core_hour", type=float, default=0.0, rule=NOT_NEGATIVE,
        text="Price of one CPU core for an hour, in any currency. The report computes the cost per million predictions "
        "from it and the best measured throughput. 0 shows no cost.",
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
