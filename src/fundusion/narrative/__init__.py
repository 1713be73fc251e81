"""Findings -> sentences with their evidence; sentences of anybody -> checked against the findings.

The words never decide: a sentence that the findings do not support is taken out, whoever wrote it.
"""
