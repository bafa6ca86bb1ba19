// Package costs is LiteLLM's paths for the map of costs, its download, discounts and margins.
package costs

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

// The settings behind LiteLLM's paths for prices.
const (
	settingSync        = "price_sync"
	settingAdjustments = "price_adjustments"
	settingUnpriced    = "block_requests_for_models_without_pricing"
)

// Config says what the paths work on. No field may be zero.
type Config struct {
	Records *records.Records
	State   State
	Prices  *prices.Prices
	Now     func() time.Time
}

// State reads the settings. *fsm.FSM implements it.
type State interface {
	Catalog() *resource.Catalog
}

type api struct{ cfg Config }

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	a := &api{cfg}
	const schedule = "/schedule/model_cost_map_reload"
	return append(a.estimateRoutes(), []wire.Route{
		{ID: "litellm-cost-map-source", Method: http.MethodGet, Pattern: "/model/cost_map/source", Handler: a.costMapSource},
		{ID: "litellm-cost-map-reload", Method: http.MethodPost, Pattern: "/reload/model_cost_map", Handler: a.costMapReload},
		{ID: "litellm-cost-map-schedule", Method: http.MethodPost, Pattern: schedule, Handler: a.costMapSchedule},
		{ID: "litellm-cost-map-unschedule", Method: http.MethodDelete, Pattern: schedule, Handler: a.costMapUnschedule},
		{ID: "litellm-cost-map-schedule-status", Method: http.MethodGet, Pattern: schedule + "/status", Handler: a.costMapStatus},
		{ID: "litellm-discounts", Method: http.MethodGet, Pattern: "/config/cost_discount_config", Handler: a.discounts},
		{ID: "litellm-discounts-update", Method: http.MethodPatch, Pattern: "/config/cost_discount_config", Handler: a.discountsUpdate},
		{ID: "litellm-block-unpriced", Method: http.MethodGet, Pattern: "/config/" + settingUnpriced, Handler: a.unpriced},
		{ID: "litellm-block-unpriced-update", Method: http.MethodPatch, Pattern: "/config/" + settingUnpriced, Handler: a.unpricedUpdate},
		{ID: "litellm-margins", Method: http.MethodGet, Pattern: "/config/cost_margin_config", Handler: a.margins},
		{ID: "litellm-margins-update", Method: http.MethodPatch, Pattern: "/config/cost_margin_config", Handler: a.marginsUpdate},
	}...)
}

func (a *api) costMapSource(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	s := a.cfg.Prices.Source()
	source := "local"
	if s.Imported > 0 {
		source = "remote"
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"source": source, "url": nullable(s.Source), "is_env_forced": false, "fallback_reason": nil,
		"model_count": s.BuiltIn + s.Imported, "held": s.Held,
	})
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// costMapReload downloads prices from where the setting says.
func (a *api) costMapReload(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	diff, wr, err := a.cfg.Prices.Sync(r.Context(), by)
	if err != nil {
		return err
	}
	s := a.cfg.Prices.Source()
	return wire.Answer(w, wr, map[string]any{
		"status": "success", "message": "Price data reloaded successfully! " + strconv.Itoa(s.Imported) + " models updated.",
		"models_count": s.Imported, "held": diff.Held, "timestamp": a.cfg.Now().UTC().Format(time.RFC3339),
	})
}

// costMapSchedule sets how often prices are downloaded; where from must be set already.
func (a *api) costMapSchedule(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	hours, err := strconv.Atoi(r.URL.Query().Get("hours"))
	if err != nil || hours < 1 || hours > 365*24 {
		return wire.Invalid("hours", "is not a number of hours, at least 1")
	}
	sync := a.cfg.State.Catalog().Settings().PriceSync
	if sync.URL == "" {
		return wire.Invalid("price_sync", "the setting names no url to download from; set it first")
	}
	wr, err := a.setSync(r, by, map[string]any{"url": sync.URL, "apply": sync.Apply, "every": strconv.Itoa(hours) + "h"})
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{
		"status": "success", "message": "Price data reload scheduled for every " + strconv.Itoa(hours) + " hours",
		"interval_hours": hours, "timestamp": a.cfg.Now().UTC().Format(time.RFC3339),
	})
}

func (a *api) costMapUnschedule(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	sync := a.cfg.State.Catalog().Settings().PriceSync
	if sync.Every == 0 {
		return wire.Answer(w, records.Written{}, map[string]any{"status": "success", "message": "No reload was scheduled"})
	}
	wr, err := a.setSync(r, by, map[string]any{"url": sync.URL, "apply": sync.Apply})
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"status": "success", "message": "Scheduled reload was canceled"})
}

func (a *api) costMapStatus(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	sync := a.cfg.State.Catalog().Settings().PriceSync
	out := map[string]any{"scheduled": false, "interval_hours": nil, "last_run": nil, "next_run": nil}
	last := a.cfg.Prices.Last().At // which may have brought nothing new
	if t := a.cfg.State.Catalog().Prices(); t != nil {
		last = max(last, t.At)
	}
	if last != 0 {
		out["last_run"] = last.Std().UTC().Format(time.RFC3339)
	}
	if next := a.cfg.Prices.NextSync(); !next.IsZero() {
		out["scheduled"], out["interval_hours"] = true, sync.Every.Hours()
		out["next_run"] = next.UTC().Format(time.RFC3339)
	}
	return wire.Answer(w, records.Written{}, out)
}

func (a *api) setSync(r *http.Request, by records.Caller, value map[string]any) (records.Written, error) {
	return a.setSetting(r, by, settingSync, value)
}

func (a *api) setSetting(r *http.Request, by records.Caller, name string, value any) (records.Written, error) {
	doc := records.Document{}
	if err := doc.Set("value", value); err != nil {
		return records.Written{}, err
	}
	_, wr, err := a.cfg.Records.Settings.Replace(r.Context(), by, name, 0, doc)
	return wr, err
}

var errNoMargin = errors.New("says no margin")

// global is LiteLLM's name for all providers that have no margin of their own.
const global = "global"

func (a *api) discounts(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{"values": a.discountValues()})
}

func (a *api) discountValues() map[string]resource.PPM {
	values := map[string]resource.PPM{}
	for name, adjust := range a.cfg.State.Catalog().Settings().PriceAdjustments {
		if adjust.Discount != 0 {
			values[theirName(name)] = adjust.Discount
		}
	}
	return values
}

func theirName(provider string) string {
	if provider == "*" {
		return global
	}
	return provider
}

func ourName(provider string) string {
	if provider == global {
		return "*"
	}
	return provider
}

// checkProviders refuses names that no provider has: what is said of them would count for nobody.
func checkProviders(in records.Document) error {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if _, ok := provider.Lookup(name); !ok && name != global && name != "*" {
			return wire.Invalid(name, "is neither a provider nor "+global)
		}
	}
	return nil
}

// marginOf reads a share, or an object with one, an amount in dollars, or both.
func marginOf(raw json.RawMessage) (share resource.PPM, fixed resource.Money, err error) {
	if err = json.Unmarshal(raw, &share); err == nil {
		return share, 0, nil
	}
	var parts map[string]json.RawMessage
	if err = json.Unmarshal(raw, &parts); err != nil {
		return 0, 0, err
	}
	if len(parts) == 0 {
		return 0, 0, errNoMargin
	}
	for name, part := range parts {
		switch name {
		case "percentage":
			err = errors.Join(err, json.Unmarshal(part, &share))
		case "fixed_amount":
			err = errors.Join(err, json.Unmarshal(part, &fixed))
		default:
			err = errNoMargin
		}
	}
	return share, fixed, err
}

// discountsUpdate puts all discounts in the place of those there are; margins stay.
func (a *api) discountsUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	if err := checkProviders(in); err != nil {
		return err
	}
	next := a.adjustments(func(adjust *resource.Adjustment) { adjust.Discount = 0 })
	for _, name := range slices.Sorted(maps.Keys(in)) {
		adjust := next[ourName(name)]
		if err := json.Unmarshal(in[name], &adjust.Discount); err != nil {
			return wire.Invalid(name, "is not a discount between 0 and 1")
		}
		next[ourName(name)] = adjust
	}
	wr, err := a.setSetting(r, by, settingAdjustments, next)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"status": "success", "message": "Cost discount configuration updated successfully", "values": a.discountValues()})
}

// enabled is the one field of the path.
const enabled = "enabled"

func (a *api) unpriced(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{enabled: a.cfg.State.Catalog().Settings().BlockUnpriced})
}

// unpricedUpdate says whether models without a price are refused.
func (a *api) unpricedUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var on bool
	if len(in) != 1 || json.Unmarshal(in[enabled], &on) != nil {
		return wire.Invalid(enabled, "must be true or false, and nothing else may stand in the body")
	}
	wr, err := a.setSetting(r, by, settingUnpriced, on)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{enabled: on})
}

func (a *api) margins(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{"values": a.marginValues()})
}

func (a *api) marginValues() map[string]any {
	values := map[string]any{}
	for name, adjust := range a.cfg.State.Catalog().Settings().PriceAdjustments {
		switch {
		case adjust.Fixed != 0:
			values[theirName(name)] = map[string]any{"percentage": adjust.Margin, "fixed_amount": adjust.Fixed}
		case adjust.Margin != 0:
			values[theirName(name)] = adjust.Margin
		}
	}
	return values
}

// marginsUpdate puts all margins in the place of those there are; discounts stay.
func (a *api) marginsUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	if err := checkProviders(in); err != nil {
		return err
	}
	next := a.adjustments(func(adjust *resource.Adjustment) { adjust.Margin, adjust.Fixed = 0, 0 })
	for _, name := range slices.Sorted(maps.Keys(in)) {
		adjust := next[ourName(name)]
		if adjust.Margin, adjust.Fixed, err = marginOf(in[name]); err != nil {
			return wire.Invalid(name, "is neither a margin nor an object with percentage, fixed_amount or both")
		}
		next[ourName(name)] = adjust
	}
	wr, err := a.setSetting(r, by, settingAdjustments, next)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"status": "success", "message": "Cost margin configuration updated successfully", "values": a.marginValues()})
}

// adjustments are a copy of those there are, each changed, without those that say nothing.
func (a *api) adjustments(change func(*resource.Adjustment)) resource.Adjustments {
	next := resource.Adjustments{}
	for name, adjust := range a.cfg.State.Catalog().Settings().PriceAdjustments {
		change(&adjust)
		if adjust != (resource.Adjustment{}) {
			next[name] = adjust
		}
	}
	return next
}
