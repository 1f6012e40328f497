"""What takes seconds to import, of others' packages; `tests.support.forked` begins with it. Only to be imported there.

Not prometheus_client, which asks at its import whether there is a folder to count into.
"""

import gc
import os

gc.disable()
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

import apscheduler.schedulers.background
import datasets
import flask
import gunicorn.app.base
import gunicorn.workers.gthread
import httpx
import label_studio_sdk
import label_studio_sdk.core.client_wrapper
import label_studio_sdk.label_interface.interface
import numpy
import peft
import pydantic_settings
import rich.console
import scipy.optimize
import scipy.stats
import sklearn.linear_model
import sklearn.model_selection
import torch
import transformers.models.auto.modeling_auto
import transformers.models.llama.modeling_llama
import trl.trainer.reward_trainer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

gc.freeze()  # children look for garbage among their own objects only
gc.enable()
