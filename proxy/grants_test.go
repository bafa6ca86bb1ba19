package proxy_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// grants is one random draw: models with groups and fallbacks, and what a key and its team say.
type grants struct {
	r      *rand.Rand
	models []*resource.Model
	groups []*resource.AccessGroup
	key    *resource.Key
	team   *resource.Team
}

var (
	grantModels  = []string{"gpt-4", "gpt-5", "claude", "local", "secret"}
	grantGroups  = []string{"premium", "internal"}
	grantEntries = []string{"gpt-4", "gpt-5", "claude", "local", "gpt*", "c*", "*", "premium", "internal", "nick", "star", "nothing", resource.NoModels}
	grantAliases = []string{"nick", "star", "gpt-4"}
	grantUnified = []string{"one", "two", "three"}
)

// some picks a few of a list, each once.
func some(r *rand.Rand, all []string, most int) []string {
	var out []string
	for _, i := range r.Perm(len(all))[:r.IntN(most+1)] {
		out = append(out, all[i])
	}
	return out
}

func drawGrants(seed uint64) *grants {
	r := rand.New(rand.NewPCG(seed, 28))
	g := &grants{r: r, key: &resource.Key{TeamID: "t"}, team: &resource.Team{Meta: resource.Meta{ID: "t"}}}
	for _, name := range grantModels {
		g.models = append(g.models, &resource.Model{
			Meta: resource.Meta{ID: "model_" + name}, Name: name, AccessGroups: some(r, grantGroups, 1), Fallbacks: slices.DeleteFunc(some(r, grantModels, 2), func(f string) bool { return f == name }),
		})
	}
	for _, name := range grantUnified {
		g.groups = append(g.groups, &resource.AccessGroup{Meta: resource.Meta{ID: "ag_" + name}, Name: name, Models: some(r, grantEntries, 2)})
	}
	for _, p := range []*resource.Policy{&g.key.Policy, &g.team.Policy} {
		p.Models = some(r, grantEntries, 3)
		for _, name := range some(r, append(slices.Clone(grantUnified), "gone"), 2) {
			p.AccessGroupIDs = append(p.AccessGroupIDs, "ag_"+name)
		}
		for _, alias := range some(r, grantAliases, 2) {
			if p.Aliases == nil {
				p.Aliases = map[string]string{}
			}
			p.Aliases[alias] = grantModels[r.IntN(len(grantModels))]
		}
	}
	return g
}

// lists says whether a list has a name, or one of the groups. It is written anew, not to believe
// what it judges.
func lists(list []string, name string, groups []string) bool {
	for _, entry := range list {
		prefix, open := strings.CutSuffix(entry, "*")
		if entry == name || open && strings.HasPrefix(name, prefix) || slices.Contains(groups, entry) {
			return true
		}
	}
	return false
}

// gives says whether one of a level's access groups lists a model.
func (g *grants) gives(p *resource.Policy, m *resource.Model) bool {
	return slices.ContainsFunc(g.groups, func(a *resource.AccessGroup) bool {
		return slices.Contains(p.AccessGroupIDs, a.ID) && len(a.Models) > 0 && lists(a.Models, m.Name, m.AccessGroups)
	})
}

// may says whether a model may answer what was asked for: each of key and team says nothing of models, lists it, has
// an access group that does, or made the alias that led to it and lists that.
func (g *grants) may(m *resource.Model, asked string) bool {
	aliased := ""
	switch { // the innermost alias counts
	case g.key.Aliases[asked] != "":
		aliased = "key"
	case g.team.Aliases[asked] != "":
		aliased = "team"
	}
	for level, p := range map[string]*resource.Policy{"key": &g.key.Policy, "team": &g.team.Policy} {
		byAlias := level == aliased && p.Aliases[asked] == m.Name && lists(p.Models, asked, nil)
		silent := len(p.Models)+len(p.AccessGroupIDs) == 0
		if !silent && !lists(p.Models, m.Name, m.AccessGroups) && !g.gives(p, m) && !byAlias {
			return false
		}
	}
	return true
}

// TestGrants_neverOutside draws ten thousand grants, aliases, groups and fallbacks, lets
// deployments fail at random, and expects that no model outside the grant is ever asked.
func TestGrants_neverOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, neverOutside) // attempts wait for one another
}

func neverOutside(t *testing.T) {
	draws := uint64(10_000)
	if testing.Short() {
		draws = 1000
	}
	answered, refused, attempts := 0, 0, 0
	for seed := range draws {
		g := drawGrants(seed)
		rig := newRig(t)
		rig.keys[resource.HashSecret(goodKey)] = g.key
		g.key.ID, g.key.Hash = "key_good", resource.HashSecret(goodKey)
		rig.tables = resource.Tables{Index: 7, Models: g.models, Teams: []*resource.Team{g.team}, AccessGroups: g.groups}
		for _, m := range g.models {
			rig.tables.Deployments = append(rig.tables.Deployments, &resource.Deployment{Meta: resource.Meta{ID: "dep_" + m.Name}, ModelID: m.ID, Provider: "openai"})
		}
		rig.cfg.Router = rig.router.Router // plans for real
		asked := append(slices.Clone(grantModels), grantAliases[:2]...)[g.r.IntN(len(grantModels)+2)]
		var own []string
		if g.r.IntN(3) == 0 {
			own = some(g.r, grantModels, 2)
		}
		rig.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			attempts++
			i := slices.IndexFunc(g.models, func(m *resource.Model) bool { return m.Name == a.Model })
			may := func(name string) bool { return g.may(g.models[i], name) }
			if m := g.models[i]; !may(asked) && !slices.ContainsFunc(own, may) { // a client's fallback is a name as any
				t.Errorf("draw %d: %q, else %v, asked the model %q (groups %v)\nkey: %v %v\nteam: %v %v", seed, asked, own, m.Name, m.AccessGroups, g.key.Models, g.key.Aliases, g.team.Models, g.team.Aliases)
			}
			if g.r.IntN(2) == 0 {
				return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Message: "boom"}
			}
			return wholeAnswer(), nil
		}
		body, _ := json.Marshal(map[string]any{"model": asked, "messages": []any{}, "fallbacks": own})
		if w := rig.do("POST", chatPath, string(body)); w.Code == 200 {
			answered++
		} else {
			refused++
		}
	}
	if answered < int(draws)/20 || refused < int(draws)/20 || attempts < answered {
		t.Errorf("%d answered, %d refused, %d attempts: the draws prove little", answered, refused, attempts)
	}
	t.Logf("%d answered, %d refused, %d attempts", answered, refused, attempts)
}
