package litellm

import (
	"maps"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
)

// updateConfig takes the section environment_variables of LiteLLM's configuration, all of it or
// nothing. The other sections are records here, with paths of their own, and are refused.
func (a *API) updateConfig(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var values map[string]string
	if err := in.Take("environment_variables", &values); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !records.IsNull(in[name]) {
			return wire.Invalid(name, "is not taken here: models have /model/new, settings have /api/v1/settings, and a whole config.yaml is brought in by conclave apply -f")
		}
	}
	if len(values) == 0 {
		return wire.Invalid("environment_variables", "is missing or empty")
	}
	wr, err := a.cfg.Records.SetVariables(r.Context(), by, values)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]string{"message": "Config updated successfully"})
}
