// Package litellm is LiteLLM's management paths (/key/generate, /team/new, /model/new, …), so
// that scripts and terraform modules written for it go on working. It translates LiteLLM's
// fields into documents of package records and back; it has no rules of its own. A field
// that would bound a key and that Conclave does not enforce is refused, never ignored.
//
// It knows nothing of who may do what: its Routes are served by package adminapi, behind
// the same authoriser as everything else.
package litellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what the API works on. No field may be zero.
type Config struct {
	Records *records.Records
	State   State
	Prices  *prices.Prices
	Now     func() time.Time
}

// State reads what Records does not show. *fsm.FSM implements it.
type State interface {
	Catalog() *resource.Catalog
	Key(id string) (*resource.Key, bool)
	KeyByHash(h resource.Hash) (*resource.Key, bool)
	Totals(kind, id string) fsm.Totals
	Audits
}

// Audits reads who changed what.
type Audits interface {
	AuditPage(q fsm.AuditQuery) audit.Page
	AuditEntry(number uint64) (resource.AuditEntry, bool)
	AuditExtent() audit.Extent
}

// API is LiteLLM's management paths. It may be used concurrently.
type API struct{ cfg Config }

// New returns the API.
func New(cfg Config) *API { return &API{cfg} }

// Handler answers a request of an admitted caller, or returns the error for WriteError.
type Handler func(w http.ResponseWriter, r *http.Request, by records.Caller) error

// Route is a path with what answers it.
type Route struct {
	ID      string // name of its row in the table of rights
	Method  string
	Pattern string
	Handler Handler
}

// Routes lists the paths. The one who serves them authorises the caller and bounds the body.
func (a *API) Routes() []Route {
	return slices.Concat(a.priceRoutes(), a.keyRoutes(), a.teamRoutes(), a.peopleRoutes(), a.modelRoutes(), a.otherRoutes())
}

func (a *API) keyRoutes() []Route {
	return []Route{
		{"litellm-key-generate", http.MethodPost, "/key/generate", a.keyGenerate},
		{"litellm-service-account", http.MethodPost, "/key/service-account/generate", a.serviceAccount},
		{"litellm-key-update", http.MethodPost, "/key/update", a.keyUpdate},
		{"litellm-key-bulk-update", http.MethodPost, "/key/bulk_update", a.keyBulkUpdate},
		{"litellm-key-delete", http.MethodPost, "/key/delete", a.keyDelete},
		{"litellm-key-block", http.MethodPost, "/key/block", a.keyBlock(client.Blocked)},
		{"litellm-key-unblock", http.MethodPost, "/key/unblock", a.keyBlock(client.Unblocked)},
		{"litellm-key-regenerate", http.MethodPost, "/key/regenerate", a.keyRegenerate},
		{"litellm-key-path-regenerate", http.MethodPost, "/key/{key}/regenerate", a.keyRegenerate},
		{"litellm-key-info", http.MethodGet, "/key/info", a.keyInfo},
		{"litellm-v2-key-info", http.MethodPost, "/v2/key/info", a.keyInfos},
		{"litellm-key-list", http.MethodGet, "/key/list", a.keyList},
		{"litellm-key-aliases", http.MethodGet, "/key/aliases", a.keyAliases},
	}
}

func (a *API) teamRoutes() []Route {
	teams, orgs, projects := a.teams(), a.organizations(), a.projects()
	return []Route{
		{"litellm-team-new", http.MethodPost, "/team/new", a.teamNew},
		{"litellm-team-update", http.MethodPost, "/team/update", teams.update},
		{"litellm-team-patch", http.MethodPatch, "/team/{id}", teams.updatePath},
		{"litellm-team-delete", http.MethodPost, "/team/delete", a.teamDelete},
		{"litellm-team-block", http.MethodPost, "/team/block", teams.block(client.Blocked)},
		{"litellm-team-unblock", http.MethodPost, "/team/unblock", teams.block(client.Unblocked)},
		{"litellm-team-info", http.MethodGet, "/team/info", a.teamInfo},
		{"litellm-team-list", http.MethodGet, "/team/list", a.teamList},
		{"litellm-v2-team-list", http.MethodGet, "/v2/team/list", a.teamPages},
		{"litellm-team-member-add", http.MethodPost, "/team/member_add", a.teamMemberAdd},
		{"litellm-team-bulk-member-add", http.MethodPost, "/team/bulk_member_add", a.teamBulkMemberAdd},
		{"litellm-team-member-update", http.MethodPost, "/team/member_update", a.teamMemberUpdate},
		{"litellm-team-member-delete", http.MethodPost, "/team/member_delete", a.teamMemberDelete},
		{"litellm-team-model-add", http.MethodPost, "/team/model/add", a.teamModels},
		{"litellm-team-model-delete", http.MethodPost, "/team/model/delete", a.teamModels},
		{"litellm-organization-new", http.MethodPost, "/organization/new", orgs.create},
		{"litellm-organization-update", http.MethodPatch, "/organization/update", orgs.update},
		{"litellm-organization-patch", http.MethodPatch, "/v2/organization/{id}", orgs.updatePath},
		{"litellm-organization-delete", http.MethodDelete, "/organization/delete", a.organizationDelete},
		{"litellm-organization-info", http.MethodGet, "/organization/info", a.organizationInfo},
		{"litellm-organization-list", http.MethodGet, "/organization/list", a.organizationList},
		{"litellm-organization-member-add", http.MethodPost, "/organization/member_add", a.organizationMemberAdd},
		{"litellm-organization-member-delete", http.MethodDelete, "/organization/member_delete", a.organizationMemberDelete},
		{"litellm-project-new", http.MethodPost, "/project/new", projects.create},
		{"litellm-project-update", http.MethodPost, "/project/update", projects.update},
		{"litellm-project-delete", http.MethodDelete, "/project/delete", projects.remove},
		{"litellm-project-info", http.MethodGet, "/project/info", projects.info},
		{"litellm-project-list", http.MethodGet, "/project/list", a.projectList},
	}
}

func (a *API) peopleRoutes() []Route {
	routes := []Route{
		{"litellm-user-new", http.MethodPost, "/user/new", a.userNew},
		{"litellm-user-update", http.MethodPost, "/user/update", a.userUpdate},
		{"litellm-user-delete", http.MethodPost, "/user/delete", a.userDelete},
		{"litellm-user-info", http.MethodGet, "/user/info", a.userInfo},
		{"litellm-v2-user-info", http.MethodGet, "/v2/user/info", a.userInfoAlone},
		{"litellm-user-list", http.MethodGet, "/user/list", a.userList},
	}
	customers := a.customers()
	for _, name := range []string{"customer", "end_user"} {
		id := "litellm-" + strings.ReplaceAll(name, "_", "-")
		routes = append(
			routes,
			Route{id + "-new", http.MethodPost, "/" + name + "/new", customers.create},
			Route{id + "-update", http.MethodPost, "/" + name + "/update", customers.update},
			Route{id + "-delete", http.MethodPost, "/" + name + "/delete", customers.remove},
			Route{id + "-block", http.MethodPost, "/" + name + "/block", a.customerBlock(client.Blocked)},
			Route{id + "-unblock", http.MethodPost, "/" + name + "/unblock", a.customerBlock(client.Unblocked)},
			Route{id + "-info", http.MethodGet, "/" + name + "/info", a.customerInfo},
			Route{id + "-list", http.MethodGet, "/" + name + "/list", a.customerList},
		)
	}
	return routes
}

func (a *API) modelRoutes() []Route {
	return []Route{
		{"litellm-model-new", http.MethodPost, "/model/new", a.modelNew},
		{"litellm-model-update", http.MethodPost, "/model/update", a.modelUpdate},
		{"litellm-model-patch", http.MethodPatch, "/model/{id}/update", a.modelUpdate},
		{"litellm-model-delete", http.MethodPost, "/model/delete", a.modelDelete},
		{"litellm-model-block", http.MethodPost, "/model/block", a.modelBlock(client.Blocked)},
		{"litellm-model-unblock", http.MethodPost, "/model/unblock", a.modelBlock(client.Unblocked)},
		{"litellm-model-info", http.MethodGet, "/model/info", a.modelInfo},
		{"litellm-v1-model-info", http.MethodGet, "/v1/model/info", a.modelInfo},
		{"litellm-v2-model-info", http.MethodGet, "/v2/model/info", a.modelPages},
		{"litellm-model-group-info", http.MethodGet, "/model_group/info", a.modelGroups},
		{"litellm-credential-new", http.MethodPost, "/credentials", a.credentialNew},
		{"litellm-credential-list", http.MethodGet, "/credentials", a.credentialList},
		{"litellm-credential-by-name", http.MethodGet, "/credentials/by_name/{name}", a.credentialByName},
		{"litellm-credential-by-model", http.MethodGet, "/credentials/by_model/{id}", a.credentialByModel},
		{"litellm-credential-update", http.MethodPatch, "/credentials/{name}", a.credentialUpdate},
		{"litellm-credential-delete", http.MethodDelete, "/credentials/{name}", a.credentialDelete},
	}
}

func (a *API) otherRoutes() []Route {
	tags, budgets := a.tags(), a.budgets()
	return []Route{
		{"litellm-tag-new", http.MethodPost, "/tag/new", tags.create},
		{"litellm-tag-update", http.MethodPost, "/tag/update", tags.update},
		{"litellm-tag-delete", http.MethodPost, "/tag/delete", tags.remove},
		{"litellm-tag-info", http.MethodPost, "/tag/info", a.tagInfo},
		{"litellm-tag-list", http.MethodGet, "/tag/list", a.tagList},
		{"litellm-budget-new", http.MethodPost, "/budget/new", budgets.create},
		{"litellm-budget-update", http.MethodPost, "/budget/update", budgets.update},
		{"litellm-budget-delete", http.MethodPost, "/budget/delete", budgets.remove},
		{"litellm-budget-info", http.MethodPost, "/budget/info", a.budgetInfo},
		{"litellm-budget-list", http.MethodGet, "/budget/list", a.budgetList},
		{"litellm-budget-settings", http.MethodGet, "/budget/settings", a.budgetSettings},
		{"litellm-audit-list", http.MethodGet, "/audit", a.auditList},
		{"litellm-audit-get", http.MethodGet, "/audit/{id}", a.auditGet},
	}
}

// errorTypes names the type of an error by its status, where no code says more.
var errorTypes = map[int]string{
	http.StatusBadRequest:         "bad_request_error",
	http.StatusUnauthorized:       "auth_error",
	http.StatusForbidden:          "permission_error",
	http.StatusNotFound:           "not_found_error",
	http.StatusConflict:           "bad_request_error",
	http.StatusServiceUnavailable: "internal_server_error",
}

// WriteError writes an error in OpenAI's shape, as LiteLLM's clients expect; p is what
// /api/v1 would say about it.
func WriteError(w http.ResponseWriter, err error, p *client.Problem) {
	var body struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	body.Error.Message = p.Detail
	body.Error.Type = cmp.Or(errorTypes[p.Status], "internal_server_error")
	if len(p.Fields) > 0 {
		body.Error.Param = &p.Fields[0].Name
	}
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Type != "" {
		body.Error.Type = e.Type
	}
	body.Error.Code = strconv.Itoa(p.Status)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(body) // who does not listen any more needs no answer
}

// answer writes v with the headers of a write.
func answer(w http.ResponseWriter, wr records.Written, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	if wr.Index != "" {
		w.Header().Set(client.HeaderIndex, wr.Index)
	}
	if len(wr.Pending) > 0 {
		w.Header().Set(client.HeaderPending, strings.Join(wr.Pending, ", "))
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b.Bytes()) // who does not listen any more needs no answer
	return nil
}

// invalid makes an *resource.Invalid.
func invalid(field, reason string) error { return &resource.Invalid{Field: field, Reason: reason} }

// readBody reads a body of LiteLLM's: fields that it does not know are ignored there and
// here, but see refuseUnsupported.
func readBody(r *http.Request) (records.Document, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", errors.Join(err, &llm.Error{Kind: llm.TooLarge, Message: "the body is over 1 MiB"}))
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return records.Document{}, nil
	}
	return records.ParseDocument(b)
}

// pageOf reads LiteLLM's page and size, and gives the slice bounds for total records.
func pageOf(q url.Values, sizeName string, size int, total int) (page, pages, from, to int, err error) {
	page = 1
	for name, v := range map[string]*int{"page": &page, sizeName: &size} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		if *v, err = strconv.Atoi(text); err != nil || *v < 1 || *v > 1_000_000 {
			return 0, 0, 0, 0, invalid(name, "is not a positive number")
		}
	}
	size = min(size, 100)
	pages = (total + size - 1) / size
	from = min((page-1)*size, total)
	return page, pages, from, min(from+size, total), nil
}
