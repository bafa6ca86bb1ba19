package router_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

func TestRouter_Plan_filter(t *testing.T) {
	t.Parallel()
	model := &resource.Model{Meta: resource.Meta{ID: "m"}, Name: "m", Retries: new(1)}
	other := &resource.Model{Meta: resource.Meta{ID: "o"}, Name: "o", Retries: new(0)}
	cat := resource.NewCatalog(resource.Tables{
		Models: []*resource.Model{model, other},
		Deployments: []*resource.Deployment{
			{Meta: resource.Meta{ID: "a"}, ModelID: "m", Provider: "openai"},
			{Meta: resource.Meta{ID: "b"}, ModelID: "m", Provider: "openai", Order: 1},
			{Meta: resource.Meta{ID: "c"}, ModelID: "m", Provider: "openai", Order: 2},
			{Meta: resource.Meta{ID: "d"}, ModelID: "o", Provider: "openai"},
		},
	})
	broken := errors.New("broken")
	pick := func(of map[string][]string) router.Filter {
		return func(m *resource.Model, all []router.Candidate) (out []int, err error) {
			for _, id := range of[m.Name] {
				at := slices.IndexFunc(all, func(c router.Candidate) bool { return c.Deployment.ID == id })
				if at < 0 {
					return nil, broken
				}
				out = append(out, at)
			}
			return out, nil
		}
	}
	for _, tt := range []struct {
		name   string
		filter router.Filter
		back   []string
		want   []string
		code   string
		err    error
	}{
		{name: "none", want: []string{"a", "b"}},
		{name: "its order counts before that of the levels", filter: pick(map[string][]string{"m": {"c", "a", "b"}}), want: []string{"c", "a"}},
		{name: "what is left is repeated", filter: pick(map[string][]string{"m": {"b"}}), want: []string{"b", "b"}},
		{name: "nothing is left", filter: pick(nil), code: "no_deployment_allowed"},
		{name: "the fallback is asked about too", filter: pick(map[string][]string{"o": {"d"}}), back: []string{"o"}, want: []string{"d"}},
		{name: "its error ends the plan", filter: pick(map[string][]string{"m": {"x"}}), back: []string{"o"}, err: broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := router.New(router.Config{})
			plan, err := r.Plan(cat, model, router.Query{Filter: tt.filter, Fallbacks: tt.back})
			if e, ok := errors.AsType[*llm.Error](err); ok && e.Code == tt.code && tt.code != "" {
				return
			}
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			var got []string
			for _, p := range plan {
				got = append(got, p.Deployment.ID)
			}
			if !slices.Equal(got, tt.want) || tt.code != "" {
				t.Errorf("got %v, want %v %s", got, tt.want, tt.code)
			}
		})
	}
}

// A lone deployment that cools down is asked nevertheless, but not if the filter leaves it out.
func TestRouter_Plan_filterOfLone(t *testing.T) {
	t.Parallel()
	model := &resource.Model{Meta: resource.Meta{ID: "m"}, Name: "m", Retries: new(0)}
	cat := resource.NewCatalog(resource.Tables{
		Models: []*resource.Model{model}, Deployments: []*resource.Deployment{{Meta: resource.Meta{ID: "a"}, ModelID: "m", Provider: "openai"}},
	})
	r := router.New(router.Config{})
	for range 100 {
		f := r.Begin("a")
		f.End(router.Outcome{Kind: llm.RateLimited})
	}
	if plan, err := r.Plan(cat, model, router.Query{}); err != nil || len(plan) != 1 {
		t.Fatalf("without a filter: %v, %v", plan, err)
	}
	asked := 0
	_, err := r.Plan(cat, model, router.Query{Filter: func(_ *resource.Model, all []router.Candidate) ([]int, error) {
		asked += len(all)
		return nil, nil
	}})
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != "no_deployment_allowed" || asked != 1 {
		t.Errorf("asked about %d, %v", asked, err)
	}
}
