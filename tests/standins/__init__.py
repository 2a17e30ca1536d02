"""Servers on the loopback interface that answer as Kubeflow Pipelines and Kubernetes do."""
