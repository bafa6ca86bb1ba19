package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/conclave-llm/conclave/adminapi/capture"
	"github.com/conclave-llm/conclave/adminapi/inflight"
	"github.com/conclave-llm/conclave/adminapi/keyshelf"
	"github.com/conclave-llm/conclave/adminapi/litellm/mcp"
	"github.com/conclave-llm/conclave/adminapi/litellm/models"
	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/adminapi/person"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/adminapi/replay"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
)

// Prefix is where the admin API is mounted.
const Prefix = "/api/v1"

// State reads the replicated state of this node. *fsm.FSM implements it.
type State interface {
	records.State
	Ledger
	Audits
	Alerts
	membership.State
	Erasure(id string) (*resource.Erasure, bool)
	Erasures() []*resource.Erasure
	Progress
}

// Ledger reads what was spent.
type Ledger interface {
	Totals(kind, id string) fsm.Totals
	DailyTotals(kind, id string, from, to int32) map[int32]fsm.Totals
	EachDay(visit func(kind, id string, day int32, t fsm.Totals)) (index uint64, covered map[string]uint64)
}

// Audits reads who changed what.
type Audits interface {
	AuditPage(q fsm.AuditQuery) audit.Page
	AuditEntry(number uint64) (resource.AuditEntry, bool)
	AuditLinks(from uint64, limit int) []audit.Line
	AuditExtent() audit.Extent
}

// Auditor takes what people do without changing a record into the audit log.
type Auditor interface {
	// Note takes an event that may be told later, and together with others like it.
	Note(e resource.AuditEvent)
	// Record returns once the event is in the log.
	Record(ctx context.Context, e resource.AuditEvent) error
}

// noAuditor forgets.
type noAuditor struct{}

func (noAuditor) Note(resource.AuditEvent)                          {}
func (noAuditor) Record(context.Context, resource.AuditEvent) error { return nil }

// Progress reads how far the log is applied.
type Progress interface {
	Applied() uint64
	WaitApplied(ctx context.Context, index uint64) error
}

// Cluster changes the membership and watches it.
type Cluster = membership.Cluster

// Config says what a Server works on.
type Config struct {
	// MCP asks MCP servers; nil: they cannot be asked here.
	MCP     mcp.Gateway
	Store   records.Store
	State   State
	Cluster Cluster
	// Overrides says whether the environment of this node's process has a variable, which counts
	// before the cluster's here. Nil: it has none.
	Overrides func(name string) bool
	// Rotator exchanges the cluster's own keys.
	Rotator membership.Rotator
	// Seal encrypts a secret for one field of one record.
	Seal func(plaintext, kind, id, field string) (*resource.Sealed, error)
	// Authenticate finds out whose request it is; its errors are *llm.Error.
	Authenticate func(r *http.Request) (*resource.Principal, error)
	// Address is where a request comes from, behind proxies too; default: who is connected.
	Address func(r *http.Request) string
	// Stale returns an error while keys with a role are not to be trusted, because this
	// node has not heard the leader for too long. Default: never.
	Stale func() error
	// Led waits a little for a leader, and returns resource.ErrNoLeader if none comes. Default: there is one.
	Led func(ctx context.Context) error
	// Requests are the requests of all nodes; nil: this node keeps none.
	Requests spend.Requests
	// Judge decides requests of the past again; nil: this server cannot.
	Judge replay.Judge
	// Blobs are the cluster's; nil: this server keeps none.
	Blobs Blobs
	// Snapshots are the cluster's backups; nil: this server makes none.
	Snapshots Snapshots
	// Upgrader brings programs to the nodes; nil: this process cannot change its program.
	Upgrader Upgrader
	// Repricer prices the requests of all nodes anew; nil: this node keeps none.
	Repricer Repricer
	// Artifacts are files, batches and the owners of what providers keep; nil: there are none.
	Artifacts person.Artifacts
	// Turns are stored turns of conversations; nil: there are none.
	Turns person.Turns
	// Auditor takes sign-ins, failures and exports. Default: they are not told.
	Auditor Auditor
	Now     func() time.Time // default clock.Now
	Logger  *slog.Logger     // default: discards
	Version string           // of the program, for the OpenAPI document
	Prices  *prices.Prices   // nil: made of the rest
	// Capture compares bills with what was recorded; nil: made of the rest, without a key.
	Capture *capture.Checker
	// MaxInFlight is how many reads, and beside them writes, are worked on at a time; 0: inflight.Max.
	MaxInFlight int64
	// Derive makes 16 bytes of the parts that nobody without the cluster's keys can make; nil:
	// a rotation cannot be named.
	Derive func(parts ...string) ([]byte, error)
	// Guardrails are those that run on this node; nil: none can.
	Guardrails Guardrails
	// KeyHook asks an auth plugin about a key that is being made or changed; nil: none can be asked.
	KeyHook func(ctx context.Context, a *resource.Auth, d *auth.KeyDraft) (auth.KeyVerdict, error)
	// Secrets resolves references to secrets; nil: nobody does.
	Secrets Secrets
	// KeyStore writes the secrets of keys to stores of secrets; nil: keys that are to be kept are refused.
	KeyStore keyshelf.Store
	// Callbacks are those of the cluster as they run; nil: none can.
	Callbacks Callbacks
	// Plugins are the plugin processes of all nodes; nil: there are none.
	Plugins Plugins
	// Models asks a provider which models it has; nil: nobody can be asked.
	Models providers.Lister
	// TryDeployment asks a deployment that need not be stored; nil: nobody can be asked.
	TryDeployment models.Trier
	// SignIns are those of people at providers; nil: nobody signs in.
	SignIns providers.SignIns
	// TryAlert sends a test through a channel of the setting alerts; nil: this server sends none.
	TryAlert func(ctx context.Context, channel string) error
	// PickUp hands a key's new secret to its owner, once; nil: there is none.
	PickUp func(ctx context.Context, by records.Caller, k *resource.Key) (string, records.Written, error)
}

// Server serves the admin API.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	api     huma.API
	routes  []Route
	rs      *records.Records
	spend   *spend.API
	prices  *prices.Prices
	persons *person.API
	gate    inflight.Gate
}

// Route is one registered route.
type Route struct {
	ID      string // name of its row in the table of rights: "create-key"
	Method  string
	Pattern string
}

// humaOnce guards what huma keeps in package variables.
var humaOnce sync.Once

// New returns a server. Nothing is started; see Mount.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.State == nil || cfg.Cluster == nil || cfg.Rotator == nil || cfg.Seal == nil || cfg.Authenticate == nil {
		return nil, errors.New("admin API: Store, State, Cluster, Rotator, Seal and Authenticate must be set")
	}
	cfg.fillDefaults()
	humaOnce.Do(func() {
		huma.DefaultArrayNullable = false
		huma.NewError = newHumaError
	})
	s := &Server{cfg: cfg, mux: http.NewServeMux(), gate: inflight.Gate{Most: cfg.MaxInFlight}}
	s.rs = records.New(records.Config{
		Store: cfg.Store, State: cfg.State, Confirm: cfg.Cluster.Confirm, Seal: cfg.Seal, Derive: cfg.Derive, MayGrant: mayGrant, MayLearn: mayLearn, KeyHook: cfg.KeyHook, Now: cfg.Now, Files: s.files(),
		Shelf: keyshelf.New(cfg.KeyStore, cfg.State.Catalog, cfg.Logger),
	})
	if s.prices = cfg.Prices; s.prices == nil {
		s.prices = prices.New(prices.Config{Store: cfg.Store, Catalog: cfg.State.Catalog, Now: cfg.Now, Logger: cfg.Logger})
	}
	s.api = humago.New(s.mux, humaConfig(cfg.Version))
	s.registerNouns()
	registerBlock(s, s.rs.Keys, "a key", s.keyView)
	registerBlock(s, s.rs.Teams, "a team and all its keys", s.teamView)
	registerBlock(s, s.rs.Organizations, "an organization and all its keys", s.organizationView)
	registerBlock(s, s.rs.Projects, "a project and all its keys", s.projectView)
	registerBlock(s, s.rs.Users, "a user and all his keys", s.userView)
	registerBlock(s, s.rs.Customers, "an end user", s.customerView)
	s.registerMembers()
	s.registerEffective()
	s.registerRotate()
	s.registerRaise()
	s.registerBulk()
	s.registerCluster()
	s.registerUpgrade()
	s.registerSnapshots()
	s.registerReports()
	s.registerRequests()
	s.registerPersons()
	s.registerPrices()
	s.registerProviders()
	s.registerBlobs()
	s.registerMCP()
	s.registerGuardrails()
	s.registerCallbacks()
	s.registerSecrets()
	s.registerPlugins()
	s.registerPrompts()
	s.registerAudit()
	s.registerAlerts()
	s.registerConfig()
	s.registerLiteLLM()
	s.mux.HandleFunc(Prefix+"/", s.serveUnknown)
	s.finishOpenAPI()
	return s, nil
}

func (c *Config) fillDefaults() {
	if c.Address == nil {
		c.Address = addressOf
	}
	if c.Stale == nil {
		c.Stale = func() error { return nil }
	}
	if c.Led == nil {
		c.Led = func(context.Context) error { return nil }
	}
	if c.MCP == nil {
		c.MCP = noGateway{}
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
	if c.Auditor == nil {
		c.Auditor = noAuditor{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Mount registers every path of the server on mux.
func (s *Server) Mount(mux *http.ServeMux) {
	for _, r := range s.routes {
		mux.Handle(r.Method+" "+r.Pattern, s.mux)
	}
	mux.Handle(Prefix+"/", s.mux) // so that an unknown path answers a problem, too
}

// Routes lists what is registered.
func (s *Server) Routes() []Route { return s.routes }

// OpenAPI returns the OpenAPI 3.1 document, indented.
func (s *Server) OpenAPI() ([]byte, error) {
	return json.MarshalIndent(s.api.OpenAPI(), "", "  ")
}

// ServeHTTP serves the paths of Mount.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	s.writeProblem(w, newProblem(http.StatusNotFound, "not_found",
		r.Method+" "+r.URL.Path+" is not part of the admin API", "see "+Prefix+"/openapi.json"))
}

func (s *Server) registerNouns() {
	registerNoun(s, s.rs.Organizations, s.organizationView)
	registerNoun(s, s.rs.Projects, s.projectView)
	registerNoun(s, s.rs.Users, s.userView)
	registerNoun(s, s.rs.Customers, s.customerView)
	registerNoun(s, s.rs.Tags, s.tagView)
	registerNoun(s, s.rs.Keys, s.keyView)
	registerNoun(s, s.rs.Teams, s.teamView)
	registerNoun(s, s.rs.Models, s.modelView)
	registerNoun(s, s.rs.Deployments, deploymentView)
	registerNoun(s, s.rs.Credentials, credentialView)
	registerNoun(s, s.rs.Budgets, plainView[resource.Budget])
	registerNoun(s, s.rs.Guardrails, guardrailView)
	registerNoun(s, s.rs.Callbacks, callbackView)
	registerNoun(s, s.rs.Sources, secretSourceView)
	registerNoun(s, s.rs.Auths, authView)
	registerNoun(s, s.rs.RouterFilters, routerFilterView)
	registerNoun(s, s.rs.AccessGroups, s.accessGroupView)
	registerNoun(s, s.rs.Plugins, pluginView)
	registerNoun(s, s.rs.MCPServers, mcpServerView)
	registerNoun(s, s.rs.PassThrough, passThroughView)
	registerNoun(s, s.rs.Prompts, plainView[resource.Prompt])
	registerNoun(s, s.rs.Settings, settingView)
	registerNoun(s, s.rs.Variables, s.variableView)
}
