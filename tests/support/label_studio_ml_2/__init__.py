"""What stands in for label-studio-ml 2.x, which is a git repository and no package of PyPI.

A process that has this folder before its packages imports `label_studio_ml` from it. It does what 2.0.1.dev0 (d02cedf, August 2026) was seen to do with a
model class; tests/backend/test_model_under_2.py holds our class to it, and holds it to a copy of the repository where there is one.
"""
