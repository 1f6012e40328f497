"""Its server."""

from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from label_studio_ml.model import LabelStudioMLBase


def init_app(model_class: Any, **_: Any) -> Flask:
    """The application around a model class."""
    if not issubclass(model_class, LabelStudioMLBase):
        raise ValueError("not a model class")
    app = Flask(__name__)

    @app.post("/setup")
    def setup() -> ResponseReturnValue:
        body = request.get_json()
        model = model_class(project_id=body["project"].split(".")[0], label_config=body["schema"])
        return jsonify(model_version=model.get("model_version"))

    @app.post("/predict")
    def predict() -> ResponseReturnValue:
        body = request.get_json()
        model = model_class(project_id=str(body.get("project")).split(".")[0], label_config=body.get("label_config"))
        parameters = body.get("params", {})
        context = parameters.pop("context", {})
        return jsonify(results=model.predict(body["tasks"], context=context, **parameters))

    @app.post("/webhook")
    def webhook() -> ResponseReturnValue:
        body = request.get_json()
        event = body.pop("action")
        if event not in LabelStudioMLBase.TRAIN_EVENTS:
            return jsonify(status="Unknown event")
        model = model_class(str(body["project"]["id"]), label_config=body["project"]["label_config"])
        return jsonify(result=model.fit(event, body), status="ok"), 201

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return jsonify(status="UP", model_class=model_class.__name__)

    return app
