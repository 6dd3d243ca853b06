"""Compare: short trainings of one model from several starts.

`_compare` and `_scale` are the two functions. `_contest` holds what is compared, and `_trainer`
goes through the trainings: a rate for each start (`_search`), then the scores. `_train` trains
members of one seed, one by one (`_loop`) or stacked (`_stack`, `_update`), as `_way` finds right
and faster, here or in others (`_workers`, `_ray`); `_runs` knows what is done, `_budget` what there
is time for. The results are `_comparison` and `_scale_result`; `_verdict` and `_statistics` say
what may be concluded, and `_print`, `_html`, `_page`, `_plot` and `_json` show it.
"""

from fanin._compare._compare import compare
from fanin._compare._comparison import Comparison
from fanin._compare._ray import ray_executor
from fanin._compare._scale import sweep_scale
from fanin._compare._scale_result import ScaleSweep

__all__ = ["Comparison", "ScaleSweep", "compare", "ray_executor", "sweep_scale"]
