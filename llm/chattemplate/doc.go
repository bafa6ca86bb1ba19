// Package chattemplate writes a conversation as the one text that a model was trained on: with texts
// before and after each turn (LiteLLM's custom prompt templates), or by a chat template in Jinja, as
// models at Hugging Face carry one in their tokenizer_config.json.
//
// Templates are an administrator's. A run is bounded all the same, because a mistake must not take
// the node with it: steps of loops and calls of macros, time, and the size of what is written. The
// library that renders them has no bounds, so that Compile puts calls of its own into the template;
// they write nothing and leave every line where it is.
package chattemplate
