(function (write, show) {
  'use strict';
  const at = (level) => (...values) => write(level, show(values));
  globalThis.log = at('info');
  globalThis.console = { log: at('info'), info: at('info'), debug: at('debug'), warn: at('warn'), error: at('error') };
});
