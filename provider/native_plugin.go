package provider

import (
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/resource"
)

// pluginRow is the row of every plugin of the kind provider. There is no address: a plugin is asked within the
// node, in OpenAI's words, and what it finds out about itself when it starts bounds what it is asked.
var pluginRow = Provider{
	Name: resource.PluginProvider + "NAME", Endpoints: chatsEmb, Codec: openai.Codec{}, Auth: NoAuth,
}

// Plugins is the row that stands for all plugins, whose names nobody knows here.
func Plugins() *Provider { return &pluginRow }
