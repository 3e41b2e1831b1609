"""Parameters of tasks whose targets are sequences: a teacher can write them, and rows differ in length."""

from components.core.parameters.parameter import Parameter
from components.core.parameters.rules import Range

SEQUENCES = (
    Parameter(
        name="teacher_beam", type=int, default=0, rule=Range(low=1, high=12, also={0: "the labels as they are"}),
        text="Train students on the teacher's output instead of the labels. The teacher runs beam search with this "
        "many hypotheses, and the one nearest to the label is used; the 5 % of rows with the least confident "
        "output are left out. 0 keeps the labels.",
    ),
    Parameter(
        name="replay_fraction", type=float, default=0.0, rule=Range(low=0, high=0.9),
        text="Add training rows whose targets are the untuned network's own answers, until they are this fraction "
        "of all training rows; then tuning forgets less. Their inputs are your general inputs if you give "
        "some, else those of the training split.",
    ),
    Parameter(
        name="batch_tokens", type=int, default=0, rule=Range(low=1, also={0: "batch_size rows"}),
        text="Maximum target pieces per training batch, padding included. Rows of similar length are batched "
        "together: many short ones or few long ones. num_processes need not divide such batches. 0 takes "
        "batch_size rows.",
    ),
)  # fmt: skip
