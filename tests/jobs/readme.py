from maskline import Input, automl
from maskline.automl import SearchSpace
from maskline.sweep import LogUniform

job = automl.image_instance_segmentation(
    training_data=Input(type="mltable", path="./train"), target_column_name="label"
)
job.set_limits(max_trials=4, max_concurrent_trials=2)
job.set_training_parameters(model_name="maskrcnn_resnet18_fpn_light", number_of_epochs=20)
job.set_sweep(sampling_algorithm="random")
job.extend_search_space(SearchSpace(learning_rate=LogUniform(-7.5, -5.5)))
job.dump("job.yaml")
