// Package bridge has the recipes of docs/bridge.md, which its tests run.
package bridge
