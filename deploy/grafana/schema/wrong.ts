// What the check must refuse: where it does not, the comments themselves are errors.
import type { Known, Whole } from './plain.js';

export const good: Whole = { schemaVersion: 42, panels: [] };
// @ts-expect-error an unknown key
export const unknown: Whole = { schemaVersion: 42, panels: [], titel: 'Demur' };
// @ts-expect-error a number in words
export const wrongType: Whole = { schemaVersion: '42', panels: [] };
// @ts-expect-error something is missing
export const missing: Whole = { panels: [] };

const field = { defaults: {}, overrides: [] as [] };
export const panel: Known = { type: 'timeseries', fieldConfig: field, options: { tooltip: { mode: 'multi' } } };
// @ts-expect-error a misspelt option
export const misspelt: Known = { type: 'timeseries', fieldConfig: field, options: { legnd: {} } };
// @ts-expect-error a value that the enum has not
export const outside: Known = { type: 'timeseries', fieldConfig: field, options: { tooltip: { mode: 'many' } } };
// @ts-expect-error an option of another kind of panel
export const other: Known = { type: 'stat', fieldConfig: field, options: { cellGap: 1 } };
// @ts-expect-error a kind of panel that is not in use
export const kind: Known = { type: 'pie', fieldConfig: field, options: {} };
export const style: Known = {
  type: 'timeseries',
  options: {},
  // @ts-expect-error a misspelt style of lines
  fieldConfig: { defaults: { custom: { lineWith: 1 } }, overrides: [] },
};
export const threshold: Known = {
  type: 'stat',
  options: {},
  // @ts-expect-error a mode of thresholds that does not exist
  fieldConfig: { defaults: { thresholds: { mode: 'total', steps: [] } }, overrides: [] },
};
