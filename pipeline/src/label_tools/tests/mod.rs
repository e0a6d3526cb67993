mod exports;
mod imports;
mod returned;
mod support;
