package adminapi

import (
	"net/http"
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

func TestRights_complete(t *testing.T) {
	t.Parallel()
	s := newBare(t)
	registered := map[string]bool{}
	for _, r := range s.Routes() {
		if registered[r.ID] {
			t.Errorf("route id %q stands twice", r.ID)
		}
		registered[r.ID] = true
		cells, ok := rights[r.ID]
		if !ok {
			t.Errorf("route %s %s (%s) has no row in the table of rights", r.Method, r.Pattern, r.ID)
			continue
		}
		for role, cell := range map[string]right{
			"admin": cells.admin, "viewer": cells.viewer, "org_admin": cells.org, "team_admin": cells.team,
			"internal_user": cells.internal, "internal_user_viewer": cells.reader, "inference": cells.inference,
		} {
			if cell == unlisted {
				t.Errorf("route %s: nobody decided about the role %s", r.ID, role)
			}
		}
		reads := r.Method == http.MethodGet || slices.Contains(Asks, r.ID)
		if !reads && !slices.Contains(ofOneself, r.ID) && (cells.viewer != deny || cells.inference != deny || cells.reader != deny) {
			t.Errorf("route %s writes, and viewers or keys of nobody may", r.ID)
		}
		if people := []right{cells.reader, cells.internal, cells.team, cells.org}; !slices.IsSorted(people) {
			t.Errorf("route %s: somebody who is more may less: %v", r.ID, people)
		}
		if (cells.org == allow || cells.team == allow || cells.internal == allow || cells.reader == allow) && r.ID != "get-schema" {
			t.Errorf("route %s: people see and change all of it", r.ID)
		}
	}
	for id := range rights {
		if !registered[id] {
			t.Errorf("the table of rights has a row for %q, which is no route", id)
		}
	}
}

// ofOneself are routes on which anybody changes what is his alone: his next secret, what he has
// allowed at MCP servers.
var ofOneself = []string{"pick-up-key", "delete-mcp-grant", "litellm-mcp-forget"}

func newBare(t *testing.T) *Server {
	t.Helper()
	s, err := New(Config{
		Store:        struct{ records.Store }{},
		State:        struct{ State }{},
		Cluster:      struct{ Cluster }{},
		Rotator:      struct{ membership.Rotator }{},
		Seal:         func(string, string, string, string) (*resource.Sealed, error) { return nil, nil },
		Authenticate: func(*http.Request) (*resource.Principal, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAuthorise(t *testing.T) {
	t.Parallel()
	key := func(role resource.Role, routes ...string) *resource.Principal {
		return &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_1"}, Role: role, Policy: resource.Policy{Routes: routes}}}
	}
	for _, tt := range []struct {
		name     string
		who      *resource.Principal
		route    string
		path     string
		ok       bool
		ownRight bool
	}{
		{"master writes", &resource.Principal{Master: true}, "create-key", "/api/v1/keys", true, false},
		{"admin writes", key(resource.RoleAdmin), "create-key", "/api/v1/keys", true, false},
		{"viewer writes", key(resource.RoleViewer), "create-key", "/api/v1/keys", false, false},
		{"viewer reads", key(resource.RoleViewer), "list-keys", "/api/v1/keys", true, false},
		{"client reads all", key(resource.RoleInference), "list-keys", "/api/v1/keys", false, false},
		{"client reads itself", key(resource.RoleInference), "get-key", "/api/v1/keys/key_1", true, true},
		{"nobody", &resource.Principal{}, "get-key", "/api/v1/keys/key_1", false, false},
		{"nil", nil, "get-key", "/api/v1/keys/key_1", false, false},
		{"unknown role", key("root"), "get-key", "/api/v1/keys/key_1", true, true},
		{"unknown route", &resource.Principal{Master: true}, "drop-everything", "/", false, false},
		{"admin bound to inference", key(resource.RoleAdmin, "/v1/*"), "create-key", "/api/v1/keys", false, false},
		{"admin bound to keys", key(resource.RoleAdmin, "/api/v1/keys"), "create-key", "/api/v1/keys", true, false},
		{"admin bound to keys, teams", key(resource.RoleAdmin, "/api/v1/keys/*"), "create-team", "/api/v1/teams", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own, err := authorise(tt.who, nil, tt.route, tt.path)
			if (err == nil) != tt.ok || own != tt.ownRight {
				t.Errorf("got own %v, %v; want ok %v, own %v", own, err, tt.ok, tt.ownRight)
			}
		})
	}
}

func TestMayGrant(t *testing.T) {
	t.Parallel()
	const soon, later = resource.Time(1000), resource.Time(2000)
	master := &resource.Principal{Master: true}
	admin := func(k resource.Key) *resource.Principal {
		k.Role = resource.RoleAdmin
		return &resource.Principal{Key: &k}
	}
	for _, tt := range []struct {
		name          string
		who           *resource.Principal
		before, after *resource.Key
		ok            bool
	}{
		{"master grants all", master, nil, &resource.Key{Role: resource.RoleAdmin}, true},
		{"admin grants admin", admin(resource.Key{}), nil, &resource.Key{Role: resource.RoleAdmin}, true},
		{"viewer grants", &resource.Principal{Key: &resource.Key{Role: resource.RoleViewer}}, nil, &resource.Key{}, false},
		{"client grants", &resource.Principal{Key: &resource.Key{}}, nil, &resource.Key{}, false},
		{"nobody grants", &resource.Principal{}, nil, &resource.Key{}, false},
		{"all routes from a bound key", admin(resource.Key{Policy: resource.Policy{Routes: []string{"/api/v1/keys"}}}), nil, &resource.Key{}, false},
		{"wider routes", admin(resource.Key{Policy: resource.Policy{Routes: []string{"/v1/chat/*"}}}), nil, &resource.Key{Policy: resource.Policy{Routes: []string{"/v1/*"}}}, false},
		{"everything by a star", admin(resource.Key{Policy: resource.Policy{Routes: []string{"/v1/*"}}}), nil, &resource.Key{Policy: resource.Policy{Routes: []string{"/*"}}}, false},
		{"narrower routes", admin(resource.Key{Policy: resource.Policy{Routes: []string{"/v1/*"}}}), nil, &resource.Key{Policy: resource.Policy{Routes: []string{"/v1/chat/*"}}}, true},
		{"admin outlives", admin(resource.Key{Policy: resource.Policy{ExpiresAt: soon}}), nil, &resource.Key{Role: resource.RoleAdmin}, false},
		{"viewer outlives", admin(resource.Key{Policy: resource.Policy{ExpiresAt: soon}}), nil, &resource.Key{Role: resource.RoleViewer, Policy: resource.Policy{ExpiresAt: later}}, false},
		{"client outlives", admin(resource.Key{Policy: resource.Policy{ExpiresAt: soon}}), nil, &resource.Key{Policy: resource.Policy{ExpiresAt: later}}, true},
		{
			"own life longer", admin(resource.Key{Policy: resource.Policy{ExpiresAt: soon}}),
			&resource.Key{Role: resource.RoleAdmin, Policy: resource.Policy{ExpiresAt: soon}}, &resource.Key{Role: resource.RoleAdmin}, false,
		},
		{
			"rename of a lasting admin", admin(resource.Key{Policy: resource.Policy{ExpiresAt: soon}}),
			&resource.Key{Role: resource.RoleAdmin}, &resource.Key{Role: resource.RoleAdmin, Name: "x"}, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := mayGrant(records.Caller{Who: *tt.who}, tt.before, tt.after); (err == nil) != tt.ok {
				t.Errorf("got %v, want ok %v", err, tt.ok)
			}
		})
	}
}
