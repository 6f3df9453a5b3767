"""The stages, each a plain function of a context: claim one unit from the store, do it, commit.

    watch ─▶ judge ─▶ mine ─▶ extract ─▶ verify ─▶ recheck ─▶ combine ─▶ promote ─▶ train ─▶ retire
     cursor   (model)  pairs    version    numbers    served     doses      job       checkpoint + gates

Every stage may be killed at any instruction and run again: what it finds in the store is all it knows. `retire` is no
code of its own: the database retires a vector in the transaction that records its training.
"""

from daemon.pipeline.combine import combine
from daemon.pipeline.context import Context
from daemon.pipeline.extract import extract
from daemon.pipeline.housekeep import housekeep
from daemon.pipeline.judge import judge
from daemon.pipeline.mine import mine
from daemon.pipeline.promote import promote
from daemon.pipeline.publish import publish
from daemon.pipeline.recheck import recheck
from daemon.pipeline.train import rescue, train
from daemon.pipeline.verify import verify
from daemon.pipeline.watch import watch

STAGES = {
    "watch": watch,
    "judge": judge,
    "mine": mine,
    "extract": extract,
    "verify": verify,
    "recheck": recheck,
    "combine": combine,
    "promote": promote,
    "train": train,
}

__all__ = [
    "STAGES",
    "Context",
    "combine",
    "extract",
    "housekeep",
    "judge",
    "mine",
    "promote",
    "publish",
    "recheck",
    "rescue",
    "train",
    "verify",
    "watch",
]
