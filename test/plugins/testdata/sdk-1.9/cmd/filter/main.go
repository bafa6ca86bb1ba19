// Command filter is a router filter of its time: its configuration is the provider whose deployments it chooses.
package main

import (
	"context"
	"encoding/json"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

type filter struct{ provider string }

func (f *filter) Configure(_ context.Context, s sdk.RouterFilterSettings) (sdk.RouterFilterDescription, error) {
	return sdk.RouterFilterDescription{Version: "1.9.0"}, json.Unmarshal(s.Config, &f.provider)
}

func (f *filter) Filter(_ context.Context, r *sdk.Route) ([]int, error) {
	var chosen []int
	for i := range r.Candidates {
		if r.Candidates[i].Provider == f.provider {
			chosen = append(chosen, i)
		}
	}
	return chosen, nil
}

func main() { sdk.ServeRouterFilter(&filter{}) }
