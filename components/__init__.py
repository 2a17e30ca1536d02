"""The stages, one room each.

job -> compile -> data_preparation -> sweep_trial x max_trials -> trial_selection -> evaluation -> onnx_export
"""
