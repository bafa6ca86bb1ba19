package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/conclave-llm/conclave/resource"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// Config says how to reach the admin API.
type Config struct {
	Server string       // base URL; default http://127.0.0.1:4000
	Key    string       // master key, or a key with a role
	HTTP   *http.Client // default http.DefaultClient
}

// Client calls the admin API. It is safe for concurrent use.
type Client struct {
	server string
	key    string
	http   *http.Client

	mu      sync.Mutex // guards index and receipt
	index   string     // newest that an answer named
	receipt Receipt    // of the last write
}

// New returns a client.
func New(cfg Config) *Client {
	c := &Client{server: strings.TrimRight(cfg.Server, "/"), key: cfg.Key, http: cfg.HTTP}
	if c.server == "" {
		c.server = "http://127.0.0.1:4000"
	}
	if c.http == nil {
		c.http = http.DefaultClient
	}
	return c
}

// Keys returns the virtual keys.
func (c *Client) Keys() Noun[Key] { return Noun[Key]{c, "keys"} }

// Organizations returns the organizations.
func (c *Client) Organizations() Noun[Organization] { return Noun[Organization]{c, "organizations"} }

// Projects returns the projects.
func (c *Client) Projects() Noun[Project] { return Noun[Project]{c, "projects"} }

// Users returns the users.
func (c *Client) Users() Noun[User] { return Noun[User]{c, "users"} }

// Customers returns the end users that have records.
func (c *Client) Customers() Noun[Customer] { return Noun[Customer]{c, "customers"} }

// Tags returns the tags that have records.
func (c *Client) Tags() Noun[Tag] { return Noun[Tag]{c, "tags"} }

// Members returns the members of a team.
func (c *Client) Members(team string) Noun[TeamMember] {
	return Noun[TeamMember]{c, join("teams", team) + "/members"}
}

// AvailableTeams lists the teams that the caller may join by himself.
func (c *Client) AvailableTeams(ctx context.Context) (Page[AvailableTeam], error) {
	var out Page[AvailableTeam]
	return out, c.do(ctx, http.MethodGet, "available-teams", nil, nil, &out)
}

// Effective explains what a key may do now. More may ask about requests for a model, of a
// customer, with tags.
func (c *Client) Effective(ctx context.Context, ref string, more url.Values) (Effective, error) {
	var out Effective
	return out, c.do(ctx, http.MethodGet, join("keys", ref)+"/effective", more, nil, &out)
}

// EffectiveCustomer explains what an end user, who need not have a record, may do now. More may ask about requests for
// a model, with tags.
func (c *Client) EffectiveCustomer(ctx context.Context, id string, more url.Values) (Effective, error) {
	var out Effective
	return out, c.do(ctx, http.MethodGet, join("customers", id)+"/effective", more, nil, &out)
}

// Teams returns the teams.
func (c *Client) Teams() Noun[Team] { return Noun[Team]{c, "teams"} }

// Models returns the models.
func (c *Client) Models() Noun[Model] { return Noun[Model]{c, "models"} }

// Deployments returns the deployments.
func (c *Client) Deployments() Noun[Deployment] { return Noun[Deployment]{c, "deployments"} }

// Credentials returns the credentials.
func (c *Client) Credentials() Noun[Credential] { return Noun[Credential]{c, "credentials"} }

// Budgets returns the shared budgets.
func (c *Client) Budgets() Noun[resource.Budget] { return Noun[resource.Budget]{c, "budgets"} }

// Guardrails returns the guardrails.
func (c *Client) Guardrails() Noun[Guardrail] {
	return Noun[Guardrail]{c, "guardrails"}
}

// Callbacks returns the callbacks.
func (c *Client) Callbacks() Noun[Callback] {
	return Noun[Callback]{c, "callbacks"}
}

// SecretSources returns the secret sources.
func (c *Client) SecretSources() Noun[SecretSource] {
	return Noun[SecretSource]{c, "secret_sources"}
}

// Auths returns the auth plugins.
func (c *Client) Auths() Noun[Auth] { return Noun[Auth]{c, "auths"} }

// RouterFilters returns the router filters.
func (c *Client) RouterFilters() Noun[RouterFilter] { return Noun[RouterFilter]{c, "router_filters"} }

// AccessGroups returns the access groups.
func (c *Client) AccessGroups() Noun[AccessGroup] { return Noun[AccessGroup]{c, "access-groups"} }

// Plugins returns the registered plugins.
func (c *Client) Plugins() Noun[Plugin] { return Noun[Plugin]{c, "plugins"} }

// Environment returns the variables of the cluster's environment.
func (c *Client) Environment() Noun[Variable] { return Noun[Variable]{c, "environment"} }

// Prompts returns the stored prompts.
func (c *Client) Prompts() Noun[resource.Prompt] { return Noun[resource.Prompt]{c, "prompts"} }

// AddPromptVersion adds a version to a prompt: its fields, or a .prompt file as "dotprompt", and the
// environment that gets it.
func (c *Client) AddPromptVersion(ctx context.Context, ref string, version any) (resource.Prompt, error) {
	var out resource.Prompt
	return out, c.do(ctx, http.MethodPost, join("prompts", ref)+"/versions", nil, version, &out)
}

// MCPServers returns the servers of the Model Context Protocol.
func (c *Client) MCPServers() Noun[MCPServer] { return Noun[MCPServer]{c, "mcp/servers"} }

// PassThroughEndpoints returns the paths that lead to URLs which administrators have chosen.
func (c *Client) PassThroughEndpoints() Noun[PassThroughEndpoint] {
	return Noun[PassThroughEndpoint]{c, "pass-through-endpoints"}
}

// MCPTools lists the tools of MCP servers that the client's key may call.
func (c *Client) MCPTools(ctx context.Context) (MCPTools, error) {
	var out MCPTools
	return out, c.do(ctx, http.MethodGet, "mcp/tools", nil, nil, &out)
}

// MCPGrants lists the MCP servers that ask for OAuth, and where the client's person has allowed the gateway to act for him.
func (c *Client) MCPGrants(ctx context.Context) (MCPGrants, error) {
	var out MCPGrants
	return out, c.do(ctx, http.MethodGet, "mcp/grants", nil, nil, &out)
}

// ForgetMCPGrant forgets what he has allowed at a server.
func (c *Client) ForgetMCPGrant(ctx context.Context, server string) error {
	return c.do(ctx, http.MethodDelete, join("mcp/grants", server), nil, nil, nil)
}

// MCPHealth asks an MCP server whether it is there.
func (c *Client) MCPHealth(ctx context.Context, ref string) (MCPHealth, error) {
	var out MCPHealth
	return out, c.do(ctx, http.MethodGet, join("mcp/servers", ref)+"/health", nil, nil, &out)
}

// Settings returns all settings, also those that have their default.
func (c *Client) Settings() Noun[Setting] { return Noun[Setting]{c, "settings"} }

// Raw returns the records of the kind with the plural name as bare JSON.
func (c *Client) Raw(plural string) Noun[json.RawMessage] { return Noun[json.RawMessage]{c, plural} }

// Block blocks or unblocks a key ("keys") or a team ("teams").
func (c *Client) Block(ctx context.Context, plural, ref string, state BlockState) error {
	return c.do(ctx, http.MethodPost, join(plural, ref, string(state)), nil, nil, nil)
}

// BlockState is what Block is to bring about.
type BlockState string

// The states.
const (
	Blocked   BlockState = "block"
	Unblocked BlockState = "unblock"
)

// RotateKey gives a key a new secret, which the answer shows.
func (c *Client) RotateKey(ctx context.Context, ref string, r Rotate) (Key, error) {
	var k Key
	return k, c.do(ctx, http.MethodPost, join("keys", ref, "rotate"), nil, r, &k)
}

// PickUpKey fetches the secret that a scheduled rotation made, once.
func (c *Client) PickUpKey(ctx context.Context, ref string) (Key, error) {
	var k Key
	return k, c.do(ctx, http.MethodPost, join("keys", ref, "pickup"), nil, nil, &k)
}

// RaiseKey raises a budget of a key for a time.
func (c *Client) RaiseKey(ctx context.Context, ref string, r Raise) (Key, error) {
	var k Key
	return k, c.do(ctx, http.MethodPost, join("keys", ref, "raise"), nil, r, &k)
}

// RaiseMember raises a budget of a member of a team for a time.
func (c *Client) RaiseMember(ctx context.Context, team, user string, r Raise) (TeamMember, error) {
	var m TeamMember
	return m, c.do(ctx, http.MethodPost, join(join("teams", team)+"/members", user, "raise"), nil, r, &m)
}

// Egress returns what the nodes may dial, and what they did.
func (c *Client) Egress(ctx context.Context) (Egress, error) {
	var out Egress
	return out, c.do(ctx, http.MethodGet, "cluster/egress", nil, nil, &out)
}

// Usage returns totals of the kind and id; with days from and to, one for each day.
func (c *Client) Usage(ctx context.Context, kind, id, from, to string) ([]Usage, error) {
	q := url.Values{}
	for name, v := range map[string]string{"kind": kind, "id": id, "from": from, "to": to} {
		if v != "" {
			q.Set(name, v)
		}
	}
	var out struct {
		Items []Usage `json:"items"`
	}
	return out.Items, c.do(ctx, http.MethodGet, "usage", q, nil, &out)
}

// Pending names the members that had not applied the last write when it was answered.
func (c *Client) Pending() []string { return c.Receipt().Pending }

// Receipt says where the last write held when it was answered.
func (c *Client) Receipt() Receipt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.receipt
}

// Index is the newest index that an answer named: "GENERATION-INDEX".
func (c *Client) Index() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, in, out any) error {
	req, err := c.request(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	return c.finish(req, out)
}

// finish sends a request and reads its answer.
func (c *Client) finish(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.server, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", c.server, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return problemOf(resp, body)
	}
	c.remember(req.Method, resp.Header)
	if out == nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.server, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := c.server + "/api/v1/" + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	switch {
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	case in != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	if index := c.Index(); index != "" {
		req.Header.Set(HeaderMinIndex, index)
	}
	return req, nil
}

// remember keeps what the answer says about where the cluster is.
func (c *Client) remember(method string, h http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if index := h.Get(HeaderIndex); index != "" && newer(index, c.index) {
		c.index = index
	}
	if method != http.MethodGet {
		c.receipt = receiptOf(h)
	}
}

// newer says whether index a is newer than b, by generation first.
func newer(a, b string) bool {
	ag, ai := splitIndex(a)
	bg, bi := splitIndex(b)
	return ag > bg || (ag == bg && ai > bi)
}

func splitIndex(s string) (generation, index uint64) {
	g, i, _ := strings.Cut(s, "-")
	generation, _ = strconv.ParseUint(g, 10, 64)
	index, _ = strconv.ParseUint(i, 10, 64)
	return generation, index
}

func problemOf(resp *http.Response, body []byte) error {
	p := &Problem{}
	if err := json.Unmarshal(body, p); err == nil && p.Title != "" {
		return p
	}
	return &Problem{
		Title:  http.StatusText(resp.StatusCode),
		Status: resp.StatusCode,
		Detail: strings.TrimSpace(string(body[:min(len(body), 512)])),
	}
}

// join makes a path of its parts, the later ones escaped.
func join(head string, refs ...string) string {
	for _, r := range refs {
		head += "/" + url.PathEscape(r)
	}
	return head
}
