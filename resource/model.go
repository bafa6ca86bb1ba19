package resource

import (
	"encoding/json"
	"fmt"
)

// Strategy orders the deployments of a model.
type Strategy string

// The strategies. The zero value is StrategyShuffle.
const (
	StrategyShuffle   Strategy = "simple_shuffle" // at random by weight
	StrategyLeastBusy Strategy = "least_busy"     // fewest requests in flight on all nodes
	StrategyLatency   Strategy = "latency"        // lowest time to first token
)

// Strategies lists the strategies that a model may name.
var Strategies = []Strategy{StrategyShuffle, StrategyLeastBusy, StrategyLatency}

// Model is a name that clients ask for. Its deployments are records of their own.
type Model struct {
	Meta
	Allowance          // of all requests for the model, whoever sends them
	Name      string   `json:"name,omitempty"` // unique; what stands in a request's "model"
	Strategy  Strategy `json:"strategy,omitempty"`
	Fallbacks []string `json:"fallbacks,omitempty"`  // models to try when no deployment of this one can answer
	Retries   *int     `json:"retries,omitempty"`    // further attempts after the first; default 2
	TimeoutMS int64    `json:"timeout_ms,omitempty"` // of a whole attempt
	Timeouts
	OnDisconnect Disconnect `json:"on_disconnect,omitempty"` // "" is DisconnectCancel
	// UnsupportedParams is what becomes of a request's parameters that a provider cannot take;
	// "" is ParamsDrop.
	UnsupportedParams ParamsPolicy    `json:"unsupported_params,omitempty"`
	AccessGroups      []string        `json:"access_groups,omitempty"` // names that stand for this model in lists of models
	Metadata          json.RawMessage `json:"metadata,omitempty"`
}

// ParamsPolicy is what becomes of parameters that a provider cannot take.
type ParamsPolicy string

// The policies. The zero value is ParamsDrop.
const (
	ParamsDrop   ParamsPolicy = "drop"   // left out, and named in x-conclave-dropped-params
	ParamsReject ParamsPolicy = "reject" // the request is refused with 400
	ParamsPass   ParamsPolicy = "pass"   // sent as they came, for the provider to judge
)

// DefaultRetries is the number of further attempts of a model that does not say.
const DefaultRetries = 2

// Label implements Record.
func (m *Model) Label() string { return m.Name }

// Canonicalize implements Record.
func (m *Model) Canonicalize() {
	m.canonicalize()
	if m.Strategy == "" {
		m.Strategy = StrategyShuffle
	}
}

// Validate implements Record.
func (m *Model) Validate() error {
	if err := validName("name", m.Name); err != nil {
		return err
	}
	if err := m.Allowance.validate(); err != nil {
		return err
	}
	if err := validNames("access_groups", m.AccessGroups); err != nil {
		return err
	}
	known := m.Strategy == ""
	for _, s := range Strategies {
		known = known || s == m.Strategy
	}
	if !known {
		return invalidf("strategy", "%q is not one of %v", m.Strategy, Strategies)
	}
	if err := validNames("fallbacks", m.Fallbacks); err != nil {
		return err
	}
	for i, f := range m.Fallbacks {
		if f == m.Name {
			return invalidf(fmt.Sprintf("fallbacks[%d]", i), "a model cannot fall back to itself")
		}
	}
	if m.Retries != nil && (*m.Retries < 0 || *m.Retries > 10) {
		return invalidf("retries", "%d is not between 0 and 10", *m.Retries)
	}
	switch m.UnsupportedParams {
	case "", ParamsDrop, ParamsReject, ParamsPass:
	default:
		return invalidf("unsupported_params", "%q is not drop, reject or pass", m.UnsupportedParams)
	}
	if err := validTimeout("timeout_ms", m.TimeoutMS); err != nil {
		return err
	}
	if err := m.Timeouts.validate(); err != nil {
		return err
	}
	if err := m.OnDisconnect.validate(); err != nil {
		return err
	}
	return validMetadata(m.Metadata)
}

// maxTimeoutMS is the longest that a timer may be set to: a day.
const maxTimeoutMS = 24 * 3600 * 1000

func validTimeout(field string, ms int64) error {
	if ms < 0 || ms > maxTimeoutMS {
		return invalidf(field, "%d is not between 0 and one day", ms)
	}
	return nil
}
