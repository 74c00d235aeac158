"""The papers' story told again on one small data set: `python -m engines bench ablation`.

Every row differs from the ground in what one paper changed; every row is trained with several seeds, because
differences below a point are within one row's own spread.
"""
