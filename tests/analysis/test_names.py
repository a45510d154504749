"""The names of `analysis` that others rely on."""

import inspect

import analysis


def test_the_names_that_others_rely_on_stay():
    faces = {"linear_cka", "rsa", "cdnv", "directional_cdnv", "open_run", "over_seeds", "estimate", "bounds", "curves"}
    faces |= {"divergence", "growth", "layers", "write_csv", "class_geometry", "decision_axes", "effective_rank"}
    faces |= {"augmentation_collapse", "within_class_collapse", "simplex_deviation"}
    faces |= {"register_measure", "runs", "write_parquet"}
    assert faces <= set(analysis.__all__) and all(hasattr(analysis, name) for name in analysis.__all__)
    assert list(inspect.signature(analysis.linear_cka).parameters) == ["x", "y", "debiased"]
    assert list(inspect.signature(analysis.rsa).parameters) == ["x", "y", "comparison"]
