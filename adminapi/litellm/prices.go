package litellm

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// The settings behind LiteLLM's paths for prices.
const (
	settingSync        = "price_sync"
	settingAdjustments = "price_adjustments"
)

func (a *API) priceRoutes() []Route {
	const schedule = "/schedule/model_cost_map_reload"
	return []Route{
		{"litellm-cost-map-source", http.MethodGet, "/model/cost_map/source", a.costMapSource},
		{"litellm-cost-map-reload", http.MethodPost, "/reload/model_cost_map", a.costMapReload},
		{"litellm-cost-map-schedule", http.MethodPost, schedule, a.costMapSchedule},
		{"litellm-cost-map-unschedule", http.MethodDelete, schedule, a.costMapUnschedule},
		{"litellm-cost-map-schedule-status", http.MethodGet, schedule + "/status", a.costMapStatus},
		{"litellm-discounts", http.MethodGet, "/config/cost_discount_config", a.discounts},
		{"litellm-discounts-update", http.MethodPatch, "/config/cost_discount_config", a.discountsUpdate},
		{"litellm-margins", http.MethodGet, "/config/cost_margin_config", a.margins},
		{"litellm-margins-update", http.MethodPatch, "/config/cost_margin_config", a.marginsUpdate},
	}
}

func (a *API) costMapSource(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	s := a.cfg.Prices.Source()
	source := "local"
	if s.Imported > 0 {
		source = "remote"
	}
	return answer(w, records.Written{}, map[string]any{
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
func (a *API) costMapReload(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	diff, wr, err := a.cfg.Prices.Sync(r.Context(), by)
	if err != nil {
		return err
	}
	s := a.cfg.Prices.Source()
	return answer(w, wr, map[string]any{
		"status": "success", "message": "Price data reloaded successfully! " + strconv.Itoa(s.Imported) + " models updated.",
		"models_count": s.Imported, "held": diff.Held, "timestamp": a.cfg.Now().UTC().Format(time.RFC3339),
	})
}

// costMapSchedule sets how often prices are downloaded; where from must be set already.
func (a *API) costMapSchedule(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	hours, err := strconv.Atoi(r.URL.Query().Get("hours"))
	if err != nil || hours < 1 || hours > 365*24 {
		return invalid("hours", "is not a number of hours, at least 1")
	}
	sync := a.cfg.State.Catalog().Settings().PriceSync
	if sync.URL == "" {
		return invalid("price_sync", "the setting names no url to download from; set it first")
	}
	wr, err := a.setSync(r, by, map[string]any{"url": sync.URL, "apply": sync.Apply, "every": strconv.Itoa(hours) + "h"})
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{
		"status": "success", "message": "Price data reload scheduled for every " + strconv.Itoa(hours) + " hours",
		"interval_hours": hours, "timestamp": a.cfg.Now().UTC().Format(time.RFC3339),
	})
}

func (a *API) costMapUnschedule(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	sync := a.cfg.State.Catalog().Settings().PriceSync
	if sync.Every == 0 {
		return answer(w, records.Written{}, map[string]any{"status": "success", "message": "No reload was scheduled"})
	}
	wr, err := a.setSync(r, by, map[string]any{"url": sync.URL, "apply": sync.Apply})
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{"status": "success", "message": "Scheduled reload was canceled"})
}

func (a *API) costMapStatus(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	sync := a.cfg.State.Catalog().Settings().PriceSync
	out := map[string]any{"scheduled": false, "interval_hours": nil, "last_run": nil, "next_run": nil}
	if t := a.cfg.State.Catalog().Prices(); t != nil && t.At != 0 {
		out["last_run"] = t.At.Std().UTC().Format(time.RFC3339)
	}
	if next := a.cfg.Prices.NextSync(); !next.IsZero() {
		out["scheduled"], out["interval_hours"] = true, sync.Every.Hours()
		out["next_run"] = next.UTC().Format(time.RFC3339)
	}
	return answer(w, records.Written{}, out)
}

func (a *API) setSync(r *http.Request, by records.Caller, value map[string]any) (records.Written, error) {
	return a.setSetting(r, by, settingSync, value)
}

func (a *API) setSetting(r *http.Request, by records.Caller, name string, value any) (records.Written, error) {
	doc := records.Document{}
	if err := doc.Set("value", value); err != nil {
		return records.Written{}, err
	}
	_, wr, err := a.cfg.Records.Settings.Replace(r.Context(), by, name, 0, doc)
	return wr, err
}

// global is LiteLLM's name for all providers that have no margin of their own.
const global = "global"

func (a *API) discounts(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return answer(w, records.Written{}, map[string]any{"values": a.discountValues()})
}

func (a *API) discountValues() map[string]resource.PPM {
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

// discountsUpdate puts all discounts in the place of those there are; margins stay.
func (a *API) discountsUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	next := a.adjustments(func(adjust *resource.Adjustment) { adjust.Discount = 0 })
	for _, name := range slices.Sorted(maps.Keys(in)) {
		adjust := next[ourName(name)]
		if err := json.Unmarshal(in[name], &adjust.Discount); err != nil {
			return invalid(name, "is not a discount between 0 and 1")
		}
		next[ourName(name)] = adjust
	}
	wr, err := a.setSetting(r, by, settingAdjustments, next)
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{"status": "success", "message": "Cost discount configuration updated successfully", "values": a.discountValues()})
}

func (a *API) margins(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return answer(w, records.Written{}, map[string]any{"values": a.marginValues()})
}

func (a *API) marginValues() map[string]any {
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
func (a *API) marginsUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	next := a.adjustments(func(adjust *resource.Adjustment) { adjust.Margin, adjust.Fixed = 0, 0 })
	for _, name := range slices.Sorted(maps.Keys(in)) {
		adjust := next[ourName(name)]
		var both struct {
			Percentage resource.PPM   `json:"percentage"`
			Fixed      resource.Money `json:"fixed_amount"`
		}
		if json.Unmarshal(in[name], &both.Percentage) != nil {
			if err := json.Unmarshal(in[name], &both); err != nil {
				return invalid(name, "is neither a margin nor an object with percentage and fixed_amount")
			}
		}
		adjust.Margin, adjust.Fixed = both.Percentage, both.Fixed
		next[ourName(name)] = adjust
	}
	wr, err := a.setSetting(r, by, settingAdjustments, next)
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{"status": "success", "message": "Cost margin configuration updated successfully", "values": a.marginValues()})
}

// adjustments are a copy of those there are, each changed, without those that say nothing.
func (a *API) adjustments(change func(*resource.Adjustment)) resource.Adjustments {
	next := resource.Adjustments{}
	for name, adjust := range a.cfg.State.Catalog().Settings().PriceAdjustments {
		change(&adjust)
		if adjust != (resource.Adjustment{}) {
			next[name] = adjust
		}
	}
	return next
}
