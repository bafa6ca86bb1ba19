package hclfile

import (
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/conclave-llm/conclave/config"
)

// functions are what expressions may call.
func (d *decoder) functions() *hcl.EvalContext {
	return &hcl.EvalContext{Functions: map[string]function.Function{
		"env":  d.envFunction(),
		"file": d.fileFunction(),
		"blob": d.blobFunction(),

		"dotprompt": d.dotpromptFunction(),

		"sealed": sealedFunction(),
	}}
}

// envFunction is env(NAME) and env(NAME, DEFAULT).
func (d *decoder) envFunction() function.Function {
	return function.New(&function.Spec{
		Description: "The value of an environment variable.",
		Params:      []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam:    &function.Parameter{Name: "default", Type: cty.String},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, function.NewArgErrorf(2, "env takes a name and at most one default")
			}
			name := args[0].AsString()
			v, ok := d.lookup(name)
			switch {
			case ok && !utf8.ValidString(v):
				return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not UTF-8", name)
			case ok:
				return cty.StringVal(v), nil
			case len(args) == 2:
				return args[1], nil
			}
			if d.Known != nil {
				return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not set here, nor has the cluster or the process of a node a variable of the name", name)
			}
			return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not set", name)
		},
	})
}

// fileFunction is file(PATH): the text of a file without line breaks at its end. A relative
// path starts at the folder of the configuration file.
func (d *decoder) fileFunction() function.Function {
	return function.New(&function.Spec{
		Description: "The text of a file.",
		Params:      []function.Parameter{{Name: "path", Type: cty.String}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := d.Text(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%s", err)
			}
			return cty.StringVal(text), nil
		},
	})
}

// sealedFunction is sealed(FINGERPRINT) and, for a key, sealed(HASH, HINT): the secret that is
// stored. An export has it in the place of every secret.
func sealedFunction() function.Function {
	return function.New(&function.Spec{
		Description: "The secret that the cluster has already.",
		Params:      []function.Parameter{{Name: "fingerprint", Type: cty.String}},
		VarParam:    &function.Parameter{Name: "hint", Type: cty.String},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, function.NewArgErrorf(2, "sealed takes a fingerprint and at most one hint")
			}
			hint := ""
			if len(args) == 2 {
				hint = args[1].AsString()
			}
			return cty.StringVal(string(config.SealedSecret(args[0].AsString(), hint))), nil
		},
	})
}
