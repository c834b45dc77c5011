// What the border needs of the interpreter, taken before the script runs, so that a script which replaces parts of the
// language changes them for itself only.
(function () {
  'use strict';
  const own = { Date, Set, Map, Number, String, Boolean, Error, Promise, Uint8Array, Uint8ClampedArray, ArrayBuffer, DataView };
  const method = (f) => Function.prototype.call.bind(f);
  const time = method(Date.prototype.getTime);
  const decimal = method(BigInt.prototype.toString);
  const sound = method(String.prototype.toWellFormed);
  const isView = ArrayBuffer.isView;
  const isArray = Array.isArray;
  const list = method(Array.from).bind(undefined, Array);
  const define = Object.defineProperty;
  const json = JSON.stringify;
  const mark = Symbol('bytes');

  const bytes = (from) => {
    const numbers = [];
    for (let i = 0; i < from.length; i++) numbers[i] = from[i];
    return define(numbers, mark, { value: true });
  };
  const show = (value) => {
    if (typeof value === 'string') return value;
    try {
      if (typeof value !== 'object') return own.String(value);
      return own.String(json(value));
    } catch (_) {
      return 'a value that cannot be shown';
    }
  };
  return {
    bytes,
    date: (millis) => new own.Date(millis),
    isBytes: (value) => value[mark] === true,
    decimal: (value) => decimal(value),
    sound: (text) => sound(text),
    show: (values) => {
      let text = '';
      for (let i = 0; i < values.length; i++) text += (i ? ' ' : '') + show(values[i]);
      return sound(text);
    },
    // What an object really is, and what is in it.
    open: (value) => {
      if (value instanceof own.Date) return ['date', time(value)];
      if (value instanceof own.Set) return ['list', list(value)];
      if (value instanceof own.Map) return ['list', list(value)];
      if (value instanceof own.ArrayBuffer) return ['list', bytes(new own.Uint8Array(value))];
      if (value instanceof own.Uint8Array || value instanceof own.Uint8ClampedArray) return ['list', bytes(value)];
      // A proxy of one; a plain one does not get here.
      if (isArray(value)) return ['list', list(value)];
      if (isView(value) && !(value instanceof own.DataView)) return ['list', list(value)];
      if (value instanceof own.Number || value instanceof own.String || value instanceof own.Boolean)
        return ['value', value.valueOf()];
      if (value instanceof own.Promise) return ['promise', null];
      if (value instanceof own.Error) return ['error', value];
      return ['object', value];
    },
    fault: (thrown) => {
      if (!(thrown instanceof own.Error)) return [sound(show(thrown)), ''];
      const name = own.String(thrown.name);
      const message = own.String(thrown.message);
      return [sound(message ? name + ': ' + message : name), sound(own.String(thrown.stack))];
    },
  };
})();
