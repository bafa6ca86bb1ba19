"""Presidio's engines behind the paths of its REST service: /analyze and /anonymize.

Presidio knows names by a model of the language, which no package index has: here the language is
spaCy's blank English, which knows one name. All other kinds are found as the service finds them.

Usage: presidio_server.py PORT
"""
import sys
import tempfile

from flask import Flask, Response, jsonify, request
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.analyzer_request import AnalyzerRequest
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.services.app_entities_convertor import AppEntitiesConvertor as Convertor
import spacy
import waitress

app = Flask(__name__)


def english():
    """Make the language and load it."""
    language = spacy.blank("en")
    language.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}])
    with tempfile.TemporaryDirectory() as folder:
        language.to_disk(folder)
        engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": folder}])
        engine.load()
        return engine


analyzer = AnalyzerEngine(nlp_engine=english(), supported_languages=["en"])
anonymizer = AnonymizerEngine()


@app.errorhandler(Exception)
def failed(err):
    return jsonify(error=str(err)), 500


@app.post("/analyze")
def analyze():
    asked = AnalyzerRequest(request.get_json())
    found = analyzer.analyze(
        text=asked.text, language=asked.language, entities=asked.entities, score_threshold=asked.score_threshold,
        ad_hoc_recognizers=asked.ad_hoc_recognizers, context=asked.context, allow_list=asked.allow_list,
        return_decision_process=asked.return_decision_process,
    )
    return jsonify([one.to_dict() for one in found])


@app.post("/anonymize")
def anonymize():
    asked = request.get_json()
    done = anonymizer.anonymize(
        text=asked.get("text", ""), analyzer_results=Convertor.analyzer_results_from_json(asked.get("analyzer_results")),
        operators=Convertor.operators_config_from_json(asked.get("anonymizers")),
    )
    return Response(done.to_json(), mimetype="application/json")


server = waitress.create_server(app, host="127.0.0.1", port=int(sys.argv[1]))
print("listening", flush=True)
server.run()
