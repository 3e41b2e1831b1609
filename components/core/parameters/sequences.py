"""Parameters of tasks whose targets are sequences: a teacher can write them, and rows differ in length."""

from components.core.parameters.parameter import Parameter
from components.core.parameters.rules import Range

SEQUENCES = (
    Parameter(
        name="teacher_beam", type=int, default=0, rule=Range(low=1, high=12, also={0: "the labels as they are"}),
        text="Train students on the teacher's output in place of the labels: beam search with this many hypotheses, of "
        "which the one nearest to the label is taken. The 5 % of the rows with the least confident output are left "
        "out. 0 keeps the labels.",
    ),
    Parameter(
        name="replay_fraction", type=float, default=0.0, rule=Range(low=0, high=0.9),
        text="Share of the training rows that are added: inputs with the untuned network's own answers as targets, "
        "so that tuning forgets less. They are general inputs, where the user has given some, else inputs of the "
        "training split.",
    ),
    Parameter(
        name="batch_tokens", type=int, default=0, rule=Range(low=1, also={0: "batch_size rows"}),
        text="Maximum target pieces per training batch, padding included. Rows of similar length are batched together: "
        "many short ones or few long ones. 0 takes batch_size rows.",
    ),
)  # fmt: skip
