// Package logging is LiteLLM's paths of callbacks: of those of the cluster (/callbacks/list,
// /get/config/callbacks and their kin), and of those that teams and keys have of their own:
// /team/{id}/callback, /team/{id}/disable_logging, /key/health and a key's metadata.logging.
// Each of those is a callback that only those are told of who choose it, and its secrets are sealed.
package logging

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm/callbacks"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what the paths work on.
type Config struct {
	Records *records.Records
	Catalog func() *resource.Catalog
	// Test sends a test event through a callback of this node; nil: none runs here.
	Test func(ctx context.Context, c *resource.Callback) client.CallbackTested
	Now  func() time.Time
}

type api struct{ Config }

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	a := &api{cfg}
	return append(a.clusterRoutes(), []wire.Route{
		{ID: "litellm-team-callbacks", Method: http.MethodGet, Pattern: "/team/{id}/callback", Handler: a.list},
		{ID: "litellm-team-callback-add", Method: http.MethodPost, Pattern: "/team/{id}/callback", Handler: a.add},
		{ID: "litellm-team-callback-remove", Method: http.MethodDelete, Pattern: "/team/{id}/callback/{name}", Handler: a.remove},
		{ID: "litellm-team-logging-disable", Method: http.MethodPost, Pattern: "/team/{id}/disable_logging", Handler: a.disable},
		{ID: "litellm-key-health", Method: http.MethodPost, Pattern: "/key/health", Handler: a.health},
	}...)
}

// entry is one callback as LiteLLM's clients say it.
type entry struct {
	Name string            `json:"callback_name"`
	Type string            `json:"callback_type"`
	Vars map[string]string `json:"callback_vars"`
}

// nameOf is what a holder's own callback is called: whose it is and LiteLLM's name.
func nameOf(holder, id, callback string) string { return holder + ":" + id + ":" + callback }

// turnOff among the variables says that the callback gets no contents.
const turnOff = "turn_off_message_logging"

// document is the callback as a record.
func (e *entry) document(name string) (records.Document, error) {
	c, ok := callbacks.Lookup(e.Name)
	if !ok {
		return nil, wire.Invalid("callback_name", fmt.Sprintf("%q is not one of %s", e.Name, strings.Join(callbacks.Names(), ", ")))
	}
	statuses, err := callbacks.Statuses(e.Type)
	if err != nil {
		return nil, wire.Invalid("callback_type", err.Error())
	}
	vars := maps.Clone(e.Vars)
	private, err := strconv.ParseBool(cmp.Or(vars[turnOff], "false"))
	if err != nil {
		return nil, wire.Invalid("callback_vars."+turnOff, "is not true or false")
	}
	delete(vars, turnOff)
	value, err := c.FromVars(vars, nil)
	if err != nil {
		return nil, wire.Invalid("callback_vars", err.Error())
	}
	doc := records.Document{}
	if private {
		if err := doc.Set("content", false); err != nil {
			return nil, err
		}
	}
	for field, v := range map[string]any{
		"name": name, "plugin": c.Plugin, "selection": resource.SelectChosen, "statuses": statuses, "config": value.Config, "secrets": value.Secrets,
	} {
		if err := doc.Set(field, v); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// own are the callbacks that are the holder's own, among those that it chooses.
func (a *api) own(holder, id string, chosen []string) (list []*resource.Callback) {
	prefix := nameOf(holder, id, "")
	for _, c := range a.Catalog().Tables().Callbacks {
		if slices.Contains(chosen, c.Name) && strings.HasPrefix(c.Name, prefix) {
			list = append(list, c)
		}
	}
	return list
}

// shown is a team's callbacks as LiteLLM shows them. Of secrets it has that there are some.
func (a *api) shown(t *resource.Team) map[string]any {
	success, failure, vars := []string{}, []string{}, map[string]string{}
	for _, c := range a.own("team", t.ID, t.Callbacks) {
		name := strings.TrimPrefix(c.Name, nameOf("team", t.ID, ""))
		if len(c.Statuses) == 0 || slices.Contains(c.Statuses, resource.StatusSuccess) {
			success = append(success, name)
		}
		if len(c.Statuses) == 0 || slices.Contains(c.Statuses, resource.StatusFailure) {
			failure = append(failure, name)
		}
		known, _ := callbacks.Lookup(name)
		var config map[string]any
		_ = json.Unmarshal(c.Config, &config) // it was checked when it was written
		for i := range known.Fields {
			f := &known.Fields[i]
			if len(f.Vars) == 0 {
				continue
			}
			if v, ok := config[f.Name]; ok {
				vars[f.Vars[0]] = fmt.Sprint(v)
			}
			if c.Secrets[f.Name] != nil {
				vars[f.Vars[0]] = "****"
			}
		}
	}
	return map[string]any{"team_id": t.ID, "success_callbacks": success, "success_callback": success, "failure_callbacks": failure, "failure_callback": failure, "callback_vars": vars}
}

func (a *api) list(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	t, err := a.Records.Teams.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{"status": "success", "data": a.shown(t)})
}

func (a *api) add(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var e entry
	for field, to := range map[string]any{"callback_name": &e.Name, "callback_type": &e.Type, "callback_vars": &e.Vars} {
		if err := in.Take(field, to); err != nil {
			return err
		}
	}
	for left := range in {
		return wire.Invalid(left, "is not one of callback_name, callback_type, callback_vars")
	}
	t, err := a.Records.Teams.Writable(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	name := nameOf("team", t.ID, e.Name)
	if slices.Contains(t.Callbacks, name) {
		return wire.Invalid("callback_name", "the team has "+e.Name+" already; remove it first")
	}
	doc, err := e.document(name)
	if err != nil {
		return err
	}
	if old, ok := a.Records.Callbacks.Find(name); ok { // left when logging was disabled
		if _, err := a.Records.Callbacks.Delete(r.Context(), by, old.ID); err != nil {
			return err
		}
	}
	if _, _, err := a.Records.Callbacks.Create(r.Context(), by, doc); err != nil {
		return err
	}
	chosen := append(slices.DeleteFunc(slices.Clone(t.Callbacks), func(c string) bool { return c == resource.NoCallbacks }), name)
	return a.choose(w, r, by, t, chosen, nil)
}

// choose writes the names of the callbacks that a team chooses, and then deletes one that it does not any more.
func (a *api) choose(w http.ResponseWriter, r *http.Request, by records.Caller, t *resource.Team, chosen []string, drop *resource.Callback) error {
	doc := records.Document{}
	if err := doc.Set("callbacks", chosen); err != nil {
		return err
	}
	t, wr, err := a.Records.Teams.Patch(r.Context(), by, t.ID, t.Version, doc)
	if err != nil {
		return err
	}
	if drop != nil {
		if wr, err = a.Records.Callbacks.Delete(r.Context(), by, drop.ID); err != nil {
			return err
		}
	}
	return wire.Answer(w, wr, map[string]any{"status": "success", "message": "the callbacks of team " + t.ID + " are written", "data": a.shown(t)})
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	t, err := a.Records.Teams.Writable(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	name := nameOf("team", t.ID, r.PathValue("name"))
	c, ok := a.Records.Callbacks.Find(name)
	if !ok || !slices.Contains(t.Callbacks, name) {
		return fmt.Errorf("callback %s of team %s: %w", r.PathValue("name"), t.ID, resource.ErrNotFound)
	}
	return a.choose(w, r, by, t, slices.DeleteFunc(slices.Clone(t.Callbacks), func(n string) bool { return n == name }), c)
}

// disable has nothing told of the team's requests but to callbacks that are always told, and
// nothing of what is said kept.
func (a *api) disable(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	t, err := a.Records.Teams.Writable(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.choose(w, r, by, t, []string{resource.NoCallbacks}, nil)
}

// health sends a test event through each callback that the requests of the caller's key are told to because somebody chose
// it: the nearest of key, member, user, project, team and organization.
func (a *api) health(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	out := map[string]any{"key": "healthy", "logging_callbacks": nil}
	if by.Who.Key == nil || a.Test == nil {
		return wire.Answer(w, records.Written{}, out)
	}
	names, status, details := []string{}, "healthy", []string{}
	for _, chosen := range resource.ChosenCallbacks(by.Who.Levels(nil)) {
		if chosen == resource.NoCallbacks {
			continue
		}
		short := chosen[strings.LastIndexByte(chosen, ':')+1:]
		names = append(names, short)
		if why := a.untold(r.Context(), by, chosen); why != "" {
			status, out["key"] = "unhealthy", "unhealthy"
			details = append(details, short+" did not take a test event: "+why)
		}
	}
	if len(names) > 0 {
		out["logging_callbacks"] = map[string]any{"callbacks": names, "status": status, "details": strings.Join(details, "; ")}
	}
	return wire.Answer(w, records.Written{}, out)
}

// whys are the reasons of a test event that was not taken, as the holder of a key may read them: addresses, and what a sink
// says, are for administrators.
var whys = map[string]string{
	client.CallbackNotRunning:  "it does not run on the node that answers",
	client.CallbackCredentials: "its server does not accept the credentials",
	client.CallbackRefused:     "its server refuses the event",
	client.CallbackFailed:      "its server cannot be reached, or answers with an error",
}

// untold says why the callback with the name does not take a test event; "": it does.
func (a *api) untold(ctx context.Context, by records.Caller, name string) string {
	c, ok := a.Records.Callbacks.Find(name)
	if !ok {
		return "there is no such callback any more"
	}
	tested := a.Test(ctx, c)
	if tested.OK {
		return ""
	}
	why := cmp.Or(whys[tested.Reason], whys[client.CallbackFailed])
	if by.Who.IsAdmin() {
		why += " (" + tested.Error + ")"
	}
	return why
}

// Take makes callbacks of what a key's metadata.logging says, takes it out of the metadata, where its secrets
// would stand in the clear, and has the key choose them. undo deletes them again, if the key is not written.
func Take(ctx context.Context, rs *records.Records, by records.Caller, doc records.Document) (undo func(), err error) {
	undo = func() {}
	var metadata map[string]json.RawMessage
	if raw, ok := doc["metadata"]; !ok || records.IsNull(raw) || json.Unmarshal(raw, &metadata) != nil || metadata["logging"] == nil {
		return undo, nil // what is no object is refused elsewhere
	}
	var entries []entry
	if err := json.Unmarshal(metadata["logging"], &entries); err != nil {
		return undo, wire.Invalid("metadata.logging", "is not a list of callback_name, callback_type and callback_vars")
	}
	delete(metadata, "logging")
	var chosen, beside []string
	if err := doc.Take("callbacks", &beside); err != nil {
		return undo, err
	}
	if err := doc.Set("metadata", metadata); err != nil {
		return undo, err
	}
	undo = func() {
		for _, name := range chosen {
			if c, ok := rs.Callbacks.Find(name); ok {
				_, _ = rs.Callbacks.Delete(context.WithoutCancel(ctx), by, c.ID) // nobody chooses it
			}
		}
	}
	id := strings.ToLower(rand.Text()[:12])
	for i := range entries {
		name := resource.KeyCallback + id + ":" + entries[i].Name
		made, err := entries[i].document(name)
		if err == nil {
			_, _, err = rs.Callbacks.Create(ctx, by, made)
		}
		if err != nil {
			undo()
			return func() {}, fmt.Errorf("metadata.logging[%d]: %w", i, err)
		}
		chosen = append(chosen, name)
	}
	return undo, doc.Set("callbacks", append(beside, chosen...))
}

// Refuse refuses metadata with credentials of callbacks, which would stand there in the clear.
func Refuse(doc records.Document) error {
	var metadata map[string]json.RawMessage
	if raw, ok := doc["metadata"]; !ok || records.IsNull(raw) || json.Unmarshal(raw, &metadata) != nil {
		return nil
	}
	for _, name := range []string{"logging", "callback_settings"} {
		if raw, ok := metadata[name]; ok && !records.IsNull(raw) && string(raw) != "[]" && string(raw) != "{}" {
			return wire.Invalid("metadata."+name, "is taken by /key/generate alone; for others make a callback with selection \"chosen\" and name it in callbacks, or POST /team/{id}/callback")
		}
	}
	return nil
}
