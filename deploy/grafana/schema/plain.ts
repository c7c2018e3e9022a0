// Grafana's types as JSON has them.
import type { Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type IsAny<T> = 0 extends 1 & T ? true : false;

/** Enums are their values. */
type Plain<T> =
  IsAny<T> extends true ? T
  : T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer Each> ? Array<Plain<Each>>
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;

/** What is left out has a default. */
type Loose<T> =
  T extends Array<infer Each> ? Array<Loose<Each>>
  : T extends object ? { [Key in keyof T]?: Loose<T[Key]> }
  : T;

type Defaults = NonNullable<Panel['fieldConfig']>['defaults'];

type Of<Kind extends string, Options, Custom> = Plain<Omit<Panel, 'type' | 'options' | 'fieldConfig'>> & {
  type: Kind;
  options: Loose<Plain<Options>>;
  fieldConfig: { defaults: Plain<Omit<Defaults, 'custom'>> & { custom?: Loose<Plain<Custom>> }; overrides: [] };
};

type Row = Plain<Omit<RowPanel, 'panels'>> & { panels: [] };

/** A panel of one of the kinds in use, its options included: Grafana's own type leaves those open. */
export type Known =
  | Of<'bargauge', bargauge.Options, never>
  | Of<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Of<'stat', stat.Options, never>
  | Of<'table', table.Options, table.FieldConfig>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>;

export type Whole = Plain<Omit<Dashboard, 'panels'>> & { panels: Array<Known | Row> };
