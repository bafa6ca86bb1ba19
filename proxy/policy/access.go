package policy

import (
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// The codes of refusals that are about models.
const (
	CodeNoModel      = "missing_model"
	CodeModelDenied  = "model_access_denied"
	CodeUnknownModel = "model_not_found"
)

// Rename follows the aliases of the levels, the innermost first, once: what one says is the name of
// a model, not another alias. by is the level whose alias it was, -1 for none.
func Rename(levels []resource.Level, asked string) (name string, by int) {
	for i, level := range slices.Backward(levels) {
		if p := level.Policy; p != nil {
			if to, ok := p.Aliases[asked]; ok {
				return to, i
			}
		}
	}
	return asked, -1
}

// CheckModel refuses a model that one of the levels does not allow. The level whose alias led to it
// may name the alias instead: it has said itself what that stands for. model is nil if there is
// none with the name.
func CheckModel(cat *resource.Catalog, levels []resource.Level, name string, model *resource.Model, asked string, by int) error {
	for i := len(levels) - 1; i >= 0; i-- {
		p := levels[i].Policy
		switch {
		case p == nil:
		case model != nil && cat.Allows(p, model) || model == nil && cat.AllowsName(p, name):
		case i == by && p.Renames(asked):
		default:
			return denied(&levels[i], asked)
		}
	}
	return nil
}

// Model finds the model that a request asks for, and refuses one that its levels do not allow.
func Model(cat *resource.Catalog, levels []resource.Level, asked string) (*resource.Model, error) {
	if asked == "" {
		return nil, &llm.Error{Kind: llm.Invalid, Code: CodeNoModel, Param: "model", Message: "The request names no model."}
	}
	name, by := Rename(levels, asked)
	model, ok := cat.Resolve(name)
	if err := CheckModel(cat, levels, name, model, asked, by); err != nil {
		return nil, err
	}
	if !ok || resource.IsPattern(model.Name) { // a pattern stands for the names that it covers, and is none
		return nil, UnknownModel(asked)
	}
	return model, nil
}

// Fallbacks checks the models that a client names as fallbacks, and follows their aliases in place.
func Fallbacks(cat *resource.Catalog, levels []resource.Level, names []string) error {
	for i, asked := range names {
		if _, err := Model(cat, levels, asked); err != nil {
			if e, ok := err.(*llm.Error); ok { //nolint:errorlint // it was made a moment ago
				e.Param = "fallbacks"
			}
			return err
		}
		names[i], _ = Rename(levels, asked)
	}
	return nil
}

// denied names the model as the client did: what an alias stands for is not its business.
func denied(v *resource.Level, asked string) error {
	return &llm.Error{
		Kind: llm.Forbidden, Type: v.Kind + "_model_access_denied", Code: CodeModelDenied, Param: "model", Scope: v.Kind, Entity: v.ID,
		Message: "The API key may not use the model " + strconv.Quote(asked) + ".",
	}
}

// UnknownModel is the error of a model that does not exist.
func UnknownModel(name string) error {
	return &llm.Error{
		Kind: llm.NotFound, Code: CodeUnknownModel, Param: "model",
		Message: "The model " + strconv.Quote(name) + " does not exist.",
	}
}
